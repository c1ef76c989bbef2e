"""Wires ingest together. Nothing here decides anything."""

from contextlib import AsyncExitStack

from beckon.ingest.v1 import ingest_service_pb2_grpc as rpc

from mesh import process
from mesh.clock import SystemClock
from mesh.eventlog import START, open_log
from mesh.server import Service, serve
from services.ingest.config import Config
from services.ingest.servicer import IngestServicer
from services.ingest.servicer.door import Door
from services.ingest.store import Appender, RecentIds

SERVICE = "beckon.ingest.v1.IngestService"


async def main(config: Config) -> None:
    """Serve until told to stop."""
    async with AsyncExitStack() as stack:
        event_log = await stack.enter_async_context(open_log(config.log))
        appender = Appender(event_log)
        door = Door(
            appender,
            RecentIds(config.recent_events),
            SystemClock(),
            partitions=event_log.partitions,
        )
        servicer = IngestServicer(door, stream_credit=config.stream_credit)

        async def log_answers() -> None:
            await event_log.oldest_unread({0: START})

        await serve(
            config.server,
            [Service(lambda s: rpc.add_IngestServiceServicer_to_server(servicer, s), SERVICE)],
            checks={"log": log_answers},
            workers=[appender.run],
            # A test holds the door's own checks equal to the annotations; they cost 45 us an event.
            self_validating=frozenset({f"{SERVICE}/IngestEvents", f"{SERVICE}/StreamEvents"}),
        )


if __name__ == "__main__":
    process.start("ingest", Config, main)
