"""The generator as a process: a Load as JSON on standard input, what became of it as JSON on standard output."""

import asyncio
import sys
import time

import msgspec

from bench.load import grpc, http
from bench.load.events import Batches, as_json
from bench.load.plan import Plan
from bench.load.spec import Kind, Load, Sent


async def _send(load: Load, batches: Batches) -> Sent:
    plan = Plan(load, batches)
    begin = time.process_time()
    match load.kind:
        case Kind.HTTP:
            await http.run(load, plan)
        case Kind.STREAM | Kind.UNARY:
            await grpc.run(load, plan)
    plan.sent.cpu_seconds = time.process_time() - begin
    return plan.sent


def main() -> None:
    """Send one load."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    serializers = {
        Kind.HTTP: as_json,
        Kind.UNARY: grpc.serialize,
        Kind.STREAM: grpc.serialize_stream,
    }
    batches = Batches(load.shape, serializers[load.kind])
    sent = asyncio.run(_send(load, batches))
    sys.stdout.buffer.write(msgspec.json.encode(sent))


if __name__ == "__main__":
    main()
