"""Makes sure that the log takes every kind of event that profile writes, in the longest words.

A real ingest on a real socket before a real log: what it refuses for good would be lost.
"""

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from os import environ
from pathlib import Path

import pytest
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1 import identity_service_pb2 as identity_pb

from mesh.callers import key_entry
from mesh.client import connect
from mesh.errors import PermissionDenied
from mesh.eventlog import START
from mesh.eventlog.redis_streams import RedisStreams
from services.profile.clients import IngestClient
from services.profile.model.changes import DerivedEvent
from services.profile.store.derived_events import DerivedEvents, owe
from services.profile.store.leases import Lease
from services.profile.worker.derived import DerivedEventRelay
from stack import ready
from stack.ports import free_port
from stack.servers import Redis
from stack.supervisor import Program
from tests.integration.profile.forgetting import Forgetting
from tests.integration.profile.world import Profiles

PARENT = "workspaces/acme"
PARTITIONS = 4
KEYS = [
    key_entry("profile", "profile", scopes=["events:write", "events:derive"]),
    key_entry("stranger", "stranger", scopes=["events:write"]),
]
# As many as one person has, each as long as an id is.
IDS = [f"{at:03}-".ljust(128, "x") for at in range(100)]


@dataclass
class House:
    profiles: Profiles
    log: RedisStreams
    port: int

    async def relay(self, *, key: str = "profile") -> None:
        async with connect(f"127.0.0.1:{self.port}", key=key, service="ingest") as channel:
            relay = DerivedEventRelay(
                DerivedEvents(self.profiles.database),
                IngestClient(channel),
                # Nobody else relays: the next need not wait for the lease of the one before.
                Lease(self.profiles.database, "derived_events", span=timedelta()),
            )
            while await relay.run_once():
                pass

    async def owed(self) -> list[DerivedEvent]:
        return [event for _, event in await DerivedEvents(self.profiles.database).oldest(1000)]

    async def taken(self) -> list[Event]:
        after = dict.fromkeys(range(PARTITIONS), START)
        found: list[Event] = []
        while records := await self.log.read(
            after, max_records=1000, wait=timedelta(milliseconds=20)
        ):
            for record in records:
                after[record.partition] = record.position
                found.extend(LogRecord.FromString(record.payload).events)
        return found


@pytest.fixture
async def house(profiles: Profiles, tmp_path: Path) -> AsyncIterator[House]:
    keys, port = tmp_path / "keys.json", free_port()
    keys.write_text(json.dumps(KEYS))
    async with (
        Redis(tmp_path / "redis") as redis,
        RedisStreams.connect(redis.url, partitions=PARTITIONS) as log,
    ):
        ingest = Program(
            "ingest",
            [sys.executable, "-m", "services.ingest"],
            environment={
                **environ,
                "BECKON_LOG_URL": redis.url,
                "BECKON_LOG_PARTITIONS": str(PARTITIONS),
                "BECKON_KEYS_FILE": str(keys),
                "BECKON_DRAIN_SECONDS": "0",
                "INGEST_ADDRESS": f"127.0.0.1:{port}",
                "INGEST_METRICS_ADDRESS": "off",
            },
            log=tmp_path / "ingest.log",
            ready=lambda: ready.serves(f"127.0.0.1:{port}"),
        )
        await ingest.start()
        try:
            yield House(profiles, log, port)
        finally:
            await ingest.stop()


async def test_whatever_profile_owes_of_a_person_of_many_long_ids_is_taken(house: House) -> None:
    first, *others = IDS
    for other in others:
        last = await house.profiles.identity.MergeProfiles(
            identity_pb.MergeProfilesRequest(
                into=f"{PARENT}/profiles/{first}", **{"from": f"{PARENT}/profiles/{other}"}
            ),
            None,
        )
    await house.profiles.identity.UnmergeProfiles(
        identity_pb.UnmergeProfilesRequest(name=last.name), None
    )
    owed = await house.owed()
    await house.relay()
    # What is owed of somebody who is erased is struck out: hence one after the other.
    await Forgetting(house.profiles).erase(first)
    owed += await house.owed()
    await house.relay()

    assert await house.owed() == []
    taken = await house.taken()
    assert {one.event_id for one in taken} == {one.event_id for one in owed}
    assert len(taken) == len(owed)
    assert {one.type for one in taken} == {"profile_merged", "profile_unmerged", "profile_erased"}


async def test_what_is_told_again_after_a_crash_is_in_the_log_once(house: House) -> None:
    told = [DerivedEvent("acme", "ana", "e1", "segment_entered", 1, '{"segment": "vip"}')]
    for _ in range(2):
        async with house.profiles.database.transaction() as db:
            await owe(db, told)
        await house.relay()

    assert [one.event_id for one in await house.taken()] == ["e1"]
    assert await house.owed() == []


async def test_without_the_scope_nothing_is_taken_and_nothing_lost(house: House) -> None:
    told = [DerivedEvent("acme", "ana", "e1", "segment_entered", 1, '{"segment": "vip"}')]
    async with house.profiles.database.transaction() as db:
        await owe(db, told)

    with pytest.raises(PermissionDenied, match="events:derive"):
        await house.relay(key="stranger")

    assert await house.owed() == told
    assert await house.taken() == []
