"""One message to many: its audience, its launch, and who looks at its account meanwhile."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import grpc.aio
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc
from beckon.trigger.v1 import broadcast_service_pb2 as pb
from beckon.trigger.v1 import broadcast_service_pb2_grpc as rpc
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as campaign_rpc

from tests.chaos.crowd import CROWD, NEWS, Account, Crowd, Ledger
from tests.chaos.inbox import Inbox

_CAMPAIGN = f"workspaces/{CROWD}/campaigns/{NEWS}"
_BATCH = 1000
_LOOK_EVERY = 0.5

# Who is asked may stand still, or have lost the question.
_ANSWER_WAIT = 5.0
_PAUSE = 0.2


async def gather(channel: grpc.aio.Channel, crowd: Crowd) -> None:
    """Write the profiles of everybody."""
    stub: profile_rpc.ProfileServiceAsyncStub = profile_rpc.ProfileServiceStub(channel)
    patches = [_patch(name, deaf=False) for name in crowd.told]
    patches += [_patch(name, deaf=True) for name in crowd.deaf]
    for start in range(0, len(patches), _BATCH):
        await stub.PatchProfiles(
            profile_pb.PatchProfilesRequest(
                parent=f"workspaces/{CROWD}",
                patches=patches[start : start + _BATCH],
                request_id=str(uuid4()),
            )
        )


async def launch(channel: grpc.aio.Channel) -> None:
    """Let the news go out, asking until somebody has heard it."""
    stub: campaign_rpc.CampaignServiceAsyncStub = campaign_rpc.CampaignServiceStub(channel)
    while True:
        with suppress(grpc.aio.AioRpcError):
            await stub.LaunchCampaign(
                campaign_pb.LaunchCampaignRequest(name=_CAMPAIGN), timeout=_ANSWER_WAIT
            )
            return
        await asyncio.sleep(_PAUSE)


@dataclass(slots=True)
class Watch:
    """Looks at the account of the news again and again."""

    channels: Mapping[str, grpc.aio.Channel]
    inbox: Inbox
    ledger: Ledger
    _name: str = field(default="")

    async def run(self, over: asyncio.Event) -> None:
        """Look until told that it is over; who does not answer is asked again."""
        while not over.is_set():
            await self.look()
            await asyncio.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Look once, if somebody answers."""
        stub: rpc.BroadcastServiceAsyncStub = rpc.BroadcastServiceStub(self.channels["trigger"])
        with suppress(grpc.aio.AioRpcError):
            if not self._name:
                self._name = await _find(stub)
            if self._name:
                found = await stub.GetBroadcast(
                    pb.GetBroadcastRequest(name=self._name), timeout=_ANSWER_WAIT
                )
                self.ledger.note(
                    _account(found.account),
                    arrived=self.inbox.messages(CROWD),
                    ended=found.HasField("end_time"),
                )


async def _find(stub: "rpc.BroadcastServiceAsyncStub") -> str:
    listed = await stub.ListBroadcasts(
        pb.ListBroadcastsRequest(parent=_CAMPAIGN), timeout=_ANSWER_WAIT
    )
    names = [one.name for one in listed.broadcasts if one.state != pb.Broadcast.STATE_PLANNED]
    return names[0] if names else ""


def _account(found: pb.Broadcast.Account) -> Account:
    return Account(
        found.audience_count,
        found.sent_count,
        dict(found.suppressed),
        dict(found.failed),
        found.pending_count,
    )


def _patch(name: str, *, deaf: bool) -> profile_pb.ProfilePatch:
    patch = profile_pb.ProfilePatch(profile=f"workspaces/{CROWD}/profiles/{name}")
    patch.set["deaf"] = deaf
    return patch
