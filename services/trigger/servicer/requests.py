"""TriggerCampaign: what begins because a caller asks for it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from google.rpc.status_pb2 import Status

from mesh.clock import Clock
from mesh.errors import Aborted, FailedPrecondition
from mesh.names import parse_name
from mesh.postgres import Connection
from services.trigger.convert import requests as convert
from services.trigger.model import Admitted, Candidate, Person
from services.trigger.store.requests import RequestClash, RequestStore, remember

# So many begin in one transaction.
_CHUNK = 250
_ATTEMPTS_MAX = 5


class Admit(Protocol):
    """Judges candidates and commits what comes of it."""

    async def __call__(
        self,
        workspace: str,
        campaign: str,
        candidates: Sequence[Candidate],
        *,
        beside: Callable[[Connection], Awaitable[None]],
    ) -> list[Admitted]:
        """Return what came of each, in order; `beside` writes in the same transaction."""


People = Callable[[Sequence[tuple[str, str]]], Awaitable[Mapping[tuple[str, str], Person]]]


class Requests:
    """Begins passages for who is named, each once an id."""

    def __init__(self, store: RequestStore, clock: Clock, *, admit: Admit, people: People) -> None:
        """Take what judges, and who knows the people."""
        self._store = store
        self._clock = clock
        self._admit = admit
        self._people = people

    async def trigger(
        self, campaign: Campaign, request: pb.TriggerCampaignRequest
    ) -> pb.TriggerCampaignResponse:
        """Answer every item by itself."""
        if campaign.state not in (Campaign.STATE_ACTIVE, Campaign.STATE_PAUSED):
            raise _forbidden(campaign, "is not launched")
        if not campaign.trigger.HasField("request"):
            raise _forbidden(campaign, "does not begin by request")
        workspace, _ = parse_name(request.name, "campaigns")
        now = self._clock.now()
        events = [
            convert.to_event(item, workspace, f"items[{at}]", now)
            for at, item in enumerate(request.items)
        ]
        response = pb.TriggerCampaignResponse()
        people = await self._people(sorted({(workspace, event.profile) for event in events}))
        for at in range(0, len(events), _CHUNK):
            candidates = [
                Candidate(event, people[workspace, event.profile], event.profile)
                for event in events[at : at + _CHUNK]
            ]
            response.statuses.extend(
                await self._begin(request.name, request.items[at : at + _CHUNK], candidates)
            )
        return response

    async def _begin(
        self, name: str, items: Sequence[convert.Item], candidates: Sequence[Candidate]
    ) -> list[Status]:
        workspace, campaign = parse_name(name, "campaigns")
        prints = [convert.fingerprint(name, item) for item in items]
        for _ in range(_ATTEMPTS_MAX):
            known = await self._store.known(workspace, [item.event_id for item in items])
            # Of two in one request the first counts.
            for item, one in zip(items, prints, strict=True):
                known.setdefault(item.event_id, one)
            good = [
                (candidate, item, one)
                for candidate, item, one in zip(candidates, items, prints, strict=True)
                if known[item.event_id] == one
            ]
            asked = {item.event_id: one for _, item, one in good}

            async def write(connection: Connection, asked: dict[str, bytes] = asked) -> None:
                await remember(connection, workspace, asked, self._clock.now())

            try:
                admitted = await self._admit(
                    workspace, campaign, [one for one, _, _ in good], beside=write
                )
            except RequestClash:
                continue
            came = {
                item.event_id: convert.answer(one)
                for (_, item, _), one in zip(good, admitted, strict=True)
            }
            return [
                came[item.event_id]
                if known[item.event_id] == one
                else convert.reused(item.event_id)
                for item, one in zip(items, prints, strict=True)
            ]
        raise Aborted(
            ErrorReason.ERROR_REASON_CONFLICT, "others use the same ids for other requests"
        )


def _forbidden(campaign: Campaign, what: str) -> FailedPrecondition:
    state = Campaign.State.Name(campaign.state).removeprefix("STATE_")
    return FailedPrecondition(
        ErrorReason.ERROR_REASON_STATE_FORBIDS,
        f"{campaign.name} {what}",
        metadata={"resourceName": campaign.name, "state": state},
    )
