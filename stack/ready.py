"""Asks whether something is up."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2

# A process on a busy machine answers its health in milliseconds, or not at all.
_PATIENCE = 1.0


async def listens(host: str, port: int) -> bool:
    """Say whether somebody accepts connections."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def serves(target: str) -> bool:
    """Say whether a gRPC server says of itself that it serves."""
    # A channel for each question: one that failed to connect would wait, longer each time.
    host, _, port = target.rpartition(":")
    if not await listens(host, int(port)):
        return False
    async with grpc.aio.insecure_channel(target) as channel:
        # By hand, as the stub's types know no methods.
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer = await check(b"", timeout=_PATIENCE)
        except grpc.aio.AioRpcError:
            return False
    status = health_pb2.HealthCheckResponse.FromString(answer).status
    return bool(status == health_pb2.HealthCheckResponse.SERVING)
