"""The HTTP API: a batch of events in, accepted when PostgreSQL has it on disk, a Celery task for each message owed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import asyncpg
import msgspec
from fastapi import FastAPI, Request, Response

from bench.baseline import settings
from bench.baseline.history import Event, Message, store
from bench.baseline.tasks import app as celery
from bench.baseline.tasks import deliver

BATCH_MAX = 1_000


class Batch(msgspec.Struct, frozen=True):
    """The body of a request."""

    events: list[Event]


_DECODER = msgspec.json.Decoder(Batch)


def _enqueue(messages: Sequence[Message]) -> None:
    """Publish the messages' tasks over one kept connection: taking one from the pool costs more than a publish."""
    with celery.producer_pool.acquire(block=True) as producer:
        for message in messages:
            event = {"type": message.event.type, "properties": message.properties}
            deliver.apply_async(
                (str(message.id), message.event.profile, event),
                producer=producer,
                task_id=str(message.id),
            )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the connection pool and the publishing thread for as long as the process serves."""
    config = settings.load()
    with ThreadPoolExecutor(2, thread_name_prefix="publish") as publishers:
        async with asyncpg.create_pool(
            config.database_url, min_size=config.database_pool, max_size=config.database_pool
        ) as pool:
            app.state.pool, app.state.publishers = pool, publishers
            yield


app = FastAPI(lifespan=_lifespan, openapi_url=None)


@app.get("/healthz")
async def healthz() -> Response:
    """Say that the process serves."""
    return Response(b"ok")


# A plain Request, decoded by msgspec into typed values: pydantic would validate the same at several times the cost.
@app.post("/v1/events")
async def ingest(request: Request) -> Response:
    """Accept a batch of events, all or none."""
    try:
        batch = _DECODER.decode(await request.body())
    except msgspec.ValidationError as error:
        return Response(
            msgspec.json.encode({"error": str(error)}), 400, media_type="application/json"
        )
    if len(batch.events) > BATCH_MAX:
        return Response(b'{"error":"more than 1000 events"}', 413, media_type="application/json")
    async with app.state.pool.acquire() as connection:
        messages = await store(connection, batch.events)
    if messages:
        await asyncio.get_running_loop().run_in_executor(app.state.publishers, _enqueue, messages)
    return Response(b'{"accepted":%d}' % len(batch.events), 202, media_type="application/json")
