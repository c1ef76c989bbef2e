"""Makes sure that what ingest acknowledges is in the log, in order, once, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import msgspec
import pytest
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as rpc
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from google.rpc import error_details_pb2

from mesh.callers import key_entry
from mesh.client import connect
from mesh.clock import SystemClock
from mesh.errors import reason_of, violations_of
from mesh.eventlog import START
from mesh.eventlog.redis_streams import RedisStreams
from mesh.server import Service, serving
from mesh.settings import ServerSettings
from services.ingest.servicer import IngestServicer
from services.ingest.servicer.door import Door
from services.ingest.store import Appender, RecentIds
from stack.servers import Redis

SERVICE = "beckon.ingest.v1.IngestService"
PARTITIONS = 4
CREDIT = 500


@dataclass
class Ingest:
    """A running ingest, a caller of workspace acme, and the log behind it."""

    stub: "rpc.IngestServiceAsyncStub"
    log: RedisStreams
    address: str

    async def events(self) -> dict[int, list[Event]]:
        after = dict.fromkeys(range(PARTITIONS), START)
        found: dict[int, list[Event]] = {partition: [] for partition in after}
        while records := await self.log.read(
            after, max_records=1000, wait=timedelta(milliseconds=20)
        ):
            for record in records:
                after[record.partition] = record.position
                found[record.partition].extend(LogRecord.FromString(record.payload).events)
        return found

    async def event_ids(self) -> list[str]:
        return sorted(event.event_id for some in (await self.events()).values() for event in some)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Redis]:
    async with Redis(tmp_path / "redis") as started:
        yield started


@pytest.fixture
async def ingest(server: Redis, tmp_path: Path) -> AsyncIterator[Ingest]:
    keys = tmp_path / "keys.json"
    entries = [
        key_entry("shop", "shop-key", workspaces=["acme"], scopes=["events:write"]),
        key_entry(
            "profile", "profile-key", workspaces=["*"], scopes=["events:write", "events:derive"]
        ),
        key_entry("reader", "reader-key", workspaces=["acme"], scopes=["profiles:read"]),
    ]
    keys.write_bytes(msgspec.json.encode(entries))
    settings = ServerSettings(
        prefix="INGEST",
        address="127.0.0.1:0",
        metrics_address="",
        keys_file=keys,
        drain=timedelta(0),
        grace=timedelta(seconds=5),
    )
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            RedisStreams.connect(server.url, partitions=PARTITIONS)
        )
        appender = Appender(log)
        door = Door(appender, RecentIds(1000), SystemClock(), partitions=PARTITIONS)
        servicer = IngestServicer(door, stream_credit=CREDIT)
        address = await stack.enter_async_context(
            serving(
                settings,
                [Service(lambda s: rpc.add_IngestServiceServicer_to_server(servicer, s), SERVICE)],
                workers=[appender.run],
                self_validating=frozenset({f"{SERVICE}/IngestEvents", f"{SERVICE}/StreamEvents"}),
            )
        )
        channel = await stack.enter_async_context(
            connect(address, key="shop-key", service="ingest")
        )
        yield Ingest(rpc.IngestServiceStub(channel), log, address)


def an_event(event_id: str, *, profile: str = "ana", **changes: object) -> Event:
    values: dict[str, object] = {
        "event_id": event_id,
        "type": "order_placed",
        "profile": f"workspaces/acme/profiles/{profile}",
        "properties_json": b'{"value": 12.5}',
        **changes,
    }
    return Event(**values)  # type: ignore[arg-type]


def a_batch(*events: Event) -> pb.IngestEventsRequest:
    return pb.IngestEventsRequest(parent="workspaces/acme", events=events)


async def test_an_acknowledged_event_is_in_the_log(ingest: Ingest) -> None:
    answer = await ingest.stub.IngestEvents(a_batch(an_event("e1"), an_event("e2")))

    assert (answer.accepted_count, answer.duplicate_count) == (2, 0)
    assert await ingest.event_ids() == ["e1", "e2"]


async def test_a_persons_events_share_a_partition_and_keep_their_order(ingest: Ingest) -> None:
    events = [an_event(f"e{n:03}", profile=f"p{n % 7}") for n in range(100)]

    for start in range(0, 100, 10):
        await ingest.stub.IngestEvents(a_batch(*events[start : start + 10]))

    order: dict[str, list[str]] = {}
    homes: dict[str, set[int]] = {}
    for partition, found in (await ingest.events()).items():
        for event in found:
            order.setdefault(event.profile, []).append(event.event_id)
            homes.setdefault(event.profile, set()).add(partition)
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert all(ids == sorted(ids) for ids in order.values())
    assert sum(map(len, order.values())) == 100


async def test_a_repeat_is_recognised_and_not_appended_again(ingest: Ingest) -> None:
    await ingest.stub.IngestEvents(a_batch(an_event("e1")))

    answer = await ingest.stub.IngestEvents(a_batch(an_event("e1"), an_event("e2")))

    assert (answer.accepted_count, answer.duplicate_count) == (2, 1)
    assert await ingest.event_ids() == ["e1", "e2"]


async def test_an_id_with_other_content_is_refused_alone(ingest: Ingest) -> None:
    await ingest.stub.IngestEvents(a_batch(an_event("e1")))

    answer = await ingest.stub.IngestEvents(
        a_batch(an_event("e1", properties_json=b'{"value": 99}'), an_event("e2"))
    )

    assert answer.failed_events[0].code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert "other content" in answer.failed_events[0].message
    assert await ingest.event_ids() == ["e1", "e2"]


async def test_bad_events_get_their_own_status_while_the_rest_goes_in(ingest: Ingest) -> None:
    answer = await ingest.stub.IngestEvents(
        a_batch(
            an_event("good"),
            an_event("bad\0id"),
            an_event("e3", type="Not Snake"),
            an_event("e4", profile="../../etc"),
            an_event("e5", properties_json=b"\xff\xfe"),
            an_event("e6", properties_json=b'{"x":"' + b"y" * 1_000_000 + b'"}'),
        )
    )

    assert answer.accepted_count == 1
    assert sorted(answer.failed_events) == [1, 2, 3, 4, 5]
    assert {status.code for status in answer.failed_events.values()} == {3}
    violations = error_details_pb2.BadRequest()
    details = answer.failed_events[2].details
    assert any(detail.Unpack(violations) for detail in details)
    assert violations.field_violations[0].field == "type"
    assert await ingest.event_ids() == ["good"]


async def test_megabytes_of_unknown_fields_stay_outside(ingest: Ingest) -> None:
    event = an_event("e1")
    # Field 100, of two megabytes.
    event.MergeFromString(b"\xa2\x06\x80\x80\x80\x01" + b"x" * (1 << 21))
    assert event.ByteSize() > 1 << 21

    answer = await ingest.stub.IngestEvents(a_batch(event))

    assert answer.accepted_count == 1
    (kept,) = [event for some in (await ingest.events()).values() for event in some]
    assert kept == an_event("e1")


async def test_an_event_without_a_time_stays_without_one(ingest: Ingest) -> None:
    # Readers take the time of receipt, which no clock of the caller's has to correct.
    await ingest.stub.IngestEvents(a_batch(an_event("e1")))

    (event,) = [event for some in (await ingest.events()).values() for event in some]
    assert not event.HasField("occur_time")


async def test_a_batch_over_the_limit_is_refused_whole(ingest: Ingest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ingest.stub.IngestEvents(a_batch(*[an_event(f"e{n}") for n in range(1001)]))

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "BATCH_TOO_LARGE"
    assert await ingest.event_ids() == []


@pytest.mark.parametrize(
    ("key", "parent", "expected"),
    [
        ("shop-key", "workspaces/other", "WORKSPACE_FORBIDDEN"),
        ("reader-key", "workspaces/acme", "SCOPE_MISSING"),
        ("nobody", "workspaces/acme", "CALLER_UNKNOWN"),
        ("shop-key", "nonsense", "FIELD_INVALID"),
    ],
)
async def test_a_caller_may_only_write_to_its_own_workspace(
    ingest: Ingest, key: str, parent: str, expected: str
) -> None:
    async with connect(ingest.address, key=key, service="ingest") as channel:
        stub: rpc.IngestServiceAsyncStub = rpc.IngestServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.IngestEvents(pb.IngestEventsRequest(parent=parent, events=[an_event("e")]))

    assert reason_of(refused.value) == expected
    assert await ingest.event_ids() == []


async def test_a_caller_cannot_say_that_somebody_was_erased(ingest: Ingest) -> None:
    erased = an_event("e1", type="profile_erased")

    refused = await ingest.stub.IngestEvents(a_batch(erased, an_event("e2")))
    async with connect(ingest.address, key="profile-key", service="ingest") as channel:
        stub: rpc.IngestServiceAsyncStub = rpc.IngestServiceStub(channel)
        taken = await stub.IngestEvents(a_batch(erased))

    assert refused.failed_events[0].code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert "mesh alone" in refused.failed_events[0].message
    assert taken.accepted_count == 1
    assert await ingest.event_ids() == ["e1", "e2"]


async def test_a_stream_acknowledges_batches_in_order_and_gives_credit_back(ingest: Ingest) -> None:
    async def batches() -> AsyncIterator[pb.StreamEventsRequest]:
        for number in range(1, 21):
            yield pb.StreamEventsRequest(
                parent="workspaces/acme",
                sequence=number,
                events=[an_event(f"e{number}-{n}", profile=f"p{n}") for n in range(10)],
            )

    answers = [answer async for answer in ingest.stub.StreamEvents(batches())]

    assert [answer.sequence for answer in answers] == list(range(21))
    assert [answer.credit for answer in answers] == [CREDIT, *[10] * 20]
    assert sum(answer.accepted_count for answer in answers) == 200
    assert len(await ingest.event_ids()) == 200


async def test_a_stream_that_overdraws_its_credit_is_refused_after_what_it_had(
    ingest: Ingest,
) -> None:
    def a_batch_of(size: int, number: int) -> pb.StreamEventsRequest:
        events = [an_event(f"e{number}-{n}") for n in range(size)]
        return pb.StreamEventsRequest(parent="workspaces/acme", sequence=number, events=events)

    acknowledged: list[int] = []

    async def stream() -> None:
        async for answer in ingest.stub.StreamEvents(
            iter([a_batch_of(300, 1), a_batch_of(700, 2)])
        ):
            acknowledged.append(answer.sequence)  # noqa: PERF401 — kept when it breaks off

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream()

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert acknowledged == [0, 1]


async def test_a_stream_into_a_foreign_workspace_ends_without_a_trace_of_it(ingest: Ingest) -> None:
    requests = [
        pb.StreamEventsRequest(parent="workspaces/acme", sequence=1, events=[an_event("mine")]),
        pb.StreamEventsRequest(parent="workspaces/other", sequence=2, events=[an_event("theirs")]),
    ]

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        _ = [answer async for answer in ingest.stub.StreamEvents(iter(requests))]

    assert reason_of(refused.value) == "WORKSPACE_FORBIDDEN"
    assert "theirs" not in await ingest.event_ids()


async def test_nothing_is_acknowledged_while_the_log_is_away(ingest: Ingest, server: Redis) -> None:
    await ingest.stub.IngestEvents(a_batch(an_event("before")))
    server.kill()

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ingest.stub.IngestEvents(a_batch(an_event("during")), timeout=2)
    await server.start()
    answer = await ingest.stub.IngestEvents(a_batch(an_event("before"), an_event("after")))

    assert refused.value.code() in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    assert answer.accepted_count == 2
    ids = await ingest.event_ids()
    assert {"before", "after"} <= set(ids)


async def test_many_callers_at_once_lose_nothing(ingest: Ingest) -> None:
    async def call(caller: int) -> None:
        for number in range(10):
            events = [an_event(f"{caller}-{number}-{n}", profile=f"p{caller}") for n in range(20)]
            await ingest.stub.IngestEvents(a_batch(*events))

    await asyncio.gather(*(call(caller) for caller in range(10)))

    assert len(set(await ingest.event_ids())) == 2000


@pytest.mark.parametrize("seconds", [-(2**63), 0, 253_402_300_799, 2**63 - 1])
async def test_a_batch_sent_when_no_clock_can_be_is_refused_whole(
    ingest: Ingest, seconds: int
) -> None:
    request = a_batch(an_event("e1"))
    request.send_time.seconds = seconds

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ingest.stub.IngestEvents(request)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in violations_of(refused.value)] == ["send_time"]
    assert await ingest.event_ids() == []
