"""Makes sure that the process serves what the service promises, and survives being killed.

The real process on a real socket; the kill is SIGKILL in the middle of a stream of calls.
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path
from uuid import uuid4

import grpc.aio
import pytest
from beckon.profile.v1 import attribute_service_pb2 as attribute_pb
from beckon.profile.v1 import attribute_service_pb2_grpc as attribute_rpc
from beckon.profile.v1 import observation_service_pb2 as pb
from beckon.profile.v1 import observation_service_pb2_grpc as rpc
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc
from beckon.profile.v1 import trait_service_pb2 as trait_pb
from beckon.profile.v1 import trait_service_pb2_grpc as trait_rpc

from mesh.callers import key_entry
from mesh.client import connect
from stack.ports import free_port
from tests.integration.profile.world import a_record, an_event
from tests.waiting import eventually

KEYS = [
    key_entry("trigger", "all"),
    key_entry(
        "shop",
        "shop",
        workspaces=["acme"],
        scopes=["profiles:read", "profiles:write", "attributes:read"],
    ),
]


@dataclass
class Server:
    url: str
    folder: Path
    port: int = 0

    async def start(self) -> Process:
        keys = self.folder / "keys.json"
        keys.write_text(json.dumps(KEYS))
        settings = {
            "PROFILE_DATABASE_URL": self.url,
            "PROFILE_KEY": "secret",
            "PROFILE_ADDRESS": f"127.0.0.1:{self.port}",
            "PROFILE_METRICS_ADDRESS": "off",
            "BECKON_KEYS_FILE": str(keys),
            "BECKON_DRAIN_SECONDS": "0",
        }
        with (self.folder / "log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.profile", env={**environ, **settings}, stdout=log
            )

    @asynccontextmanager
    async def channel(self, key: str = "all") -> AsyncIterator[grpc.aio.Channel]:
        async with connect(f"127.0.0.1:{self.port}", key=key, service="profile") as channel:
            await asyncio.wait_for(channel.channel_ready(), 60)
            yield channel


@pytest.fixture
async def house(url: str, tmp_path: Path) -> Server:
    return Server(url, tmp_path, free_port())


async def test_the_process_serves_both_services_and_ends_in_order(house: Server) -> None:
    process = await house.start()
    try:
        async with house.channel() as channel:
            observe = rpc.ObservationServiceStub(channel).ObserveEvents
            bad = an_event("bad", workspace="bolt")
            answer = await observe(
                pb.ObserveEventsRequest(records=[a_record("1", an_event(), bad)])
            )
            get = profile_rpc.ProfileServiceStub(channel).GetProfile
            name = "workspaces/acme/profiles/ana"
            ana = await get(profile_pb.GetProfileRequest(name=name))
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 60)

    assert list(answer.failed_events) == [1]
    assert ana.counters["order_placed"].count == 1
    assert code == 0


async def test_a_write_is_seen_by_who_brings_its_token(house: Server) -> None:
    name = "workspaces/acme/profiles/ana"
    patch = profile_pb.ProfilePatch(profile=name, increment={"visits": 1})
    patch.set.update({"tier": "gold", "email": "ana@example.com"})
    wanted = profile_pb.PatchProfilesRequest(
        parent="workspaces/acme",
        patches=[
            patch,
            profile_pb.ProfilePatch(profile=name, increment={"tier": 1}),
            profile_pb.ProfilePatch(profile=f"{name}/"),
        ],
        request_id=str(uuid4()),
    )
    process = await house.start()
    try:
        async with house.channel("shop") as channel:
            profiles = profile_rpc.ProfileServiceStub(channel)
            answers = [await profiles.PatchProfiles(wanted) for _ in range(2)]
            token = answers[0].consistency_tokens[0]
            ana = await profiles.GetProfile(
                profile_pb.GetProfileRequest(name=name, consistency_token=token)
            )
            attributes = attribute_rpc.AttributeServiceStub(channel)
            request = attribute_pb.GetAttributeRequest(name="workspaces/acme/attributes/visits")
            visits = await attributes.GetAttribute(request)
    finally:
        process.kill()
        await process.wait()

    assert answers[0] == answers[1]
    assert answers[0].failed_patches[1].code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert answers[0].failed_patches[2].code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert dict(ana.attributes) == {"tier": "gold", "visits": 1}
    assert visits.type == attribute_pb.Attribute.TYPE_NUMBER


async def test_a_workspace_that_is_not_yours_is_closed(house: Server) -> None:
    process = await house.start()
    try:
        async with house.channel("shop") as channel:
            profiles = profile_rpc.ProfileServiceStub(channel)
            foreign = profile_pb.Profile(name="workspaces/bolt/profiles/ana")
            calls: list[Awaitable[object]] = [
                profiles.ListProfiles(profile_pb.ListProfilesRequest(parent="workspaces/bolt")),
                profiles.UpdateProfile(profile_pb.UpdateProfileRequest(profile=foreign)),
                rpc.ObservationServiceStub(channel).ObserveEvents(pb.ObserveEventsRequest()),
            ]
            refusals = []
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                refusals.append(refused.value.code())
            own = await profiles.ListProfiles(
                profile_pb.ListProfilesRequest(parent="workspaces/acme")
            )
    finally:
        process.kill()
        await process.wait()

    assert refusals == [grpc.StatusCode.PERMISSION_DENIED] * 3
    assert not own.profiles


async def test_a_process_killed_in_mid_stream_counts_nothing_twice(house: Server) -> None:
    """Whoever calls repeats what was not answered, as trigger does."""
    records = [
        a_record(f"{at:03}", *(an_event(f"e{at}-{one}", profile=f"p{one}") for one in range(10)))
        for at in range(60)
    ]
    process = await house.start()
    at, answered_since_start = 0, 0
    while at < len(records):
        try:
            async with house.channel() as channel:
                observe = rpc.ObservationServiceStub(channel).ObserveEvents
                while at < len(records):
                    turn = records[at : at + 4]
                    call = observe(pb.ObserveEventsRequest(records=turn), timeout=5)
                    if answered_since_start == 5 and at < 50:
                        # Now: the call is somewhere between here and its commit.
                        process.kill()
                    await call
                    at, answered_since_start = at + len(turn), answered_since_start + 1
        except grpc.aio.AioRpcError:
            await process.wait()
            process, answered_since_start = await house.start(), 0
    async with house.channel() as channel:
        names = [f"workspaces/acme/profiles/p{one}" for one in range(10)]
        standings = await rpc.ObservationServiceStub(channel).BatchGetStandings(
            pb.BatchGetStandingsRequest(profiles=names)
        )
    process.kill()
    await process.wait()

    assert [one.counters[0].count for one in standings.standings] == [60] * 10


async def test_a_trait_is_filled_from_the_history_by_the_process_itself(house: Server) -> None:
    name = "workspaces/acme/traits/orders"
    declared = trait_pb.Trait(
        name=name,
        event_type="order_placed",
        aggregate=trait_pb.Trait.AGGREGATE_COUNT,
        backfill=True,
    )
    process = await house.start()
    try:
        async with house.channel() as channel:
            observation = rpc.ObservationServiceStub(channel)
            await observation.ObserveEvents(
                pb.ObserveEventsRequest(records=[a_record("1", an_event())])
            )
            traits = trait_rpc.TraitServiceStub(channel)
            await traits.CreateTrait(trait_pb.CreateTraitRequest(trait=declared))
            await eventually(
                lambda: traits.GetTrait(trait_pb.GetTraitRequest(name=name)),
                lambda found: found.state == trait_pb.Trait.STATE_ACTIVE,
            )
            ana = pb.BatchGetStandingsRequest(profiles=["workspaces/acme/profiles/ana"])
            standing = (await observation.BatchGetStandings(ana)).standings[0]
    finally:
        process.kill()
        await process.wait()

    assert json.loads(standing.traits_json) == {"orders": 1}
