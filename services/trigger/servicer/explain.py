"""Answers why somebody got a message, or did not: from the record, and where it is silent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from beckon.trigger.v1 import decision_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.clock import Clock
from mesh.errors import invalid_field
from mesh.names import format_name, parse_name
from mesh.postgres import Database
from services.trigger.clients import EventQuery, Peers
from services.trigger.convert.campaigns import Contexts, to_plan
from services.trigger.convert.records import to_decision
from services.trigger.convert.times import from_timestamp
from services.trigger.convert.versions import as_of
from services.trigger.model import (
    DecisionRow,
    Ending,
    Gate,
    Heard,
    Occurrence,
    RecipientKind,
    Silence,
    StoredCampaign,
)
from services.trigger.rules import zone_of
from services.trigger.rules.explaining import (
    reached_cap,
    refusing_gate,
    silence_of,
    summary_of,
)
from services.trigger.store import CampaignStore, RecordStore, SettingsStore, VersionStore

_AROUND = timedelta(hours=1)
# Further back profile need not look for an event whose time nobody knows.
_LOOK_BACK = timedelta(days=30)
_DECISIONS_MAX = 20
_NO_EVENT = UUID(int=0)


class Explaining:
    """Gathers what explains a decision, or the lack of one; changes nothing."""

    def __init__(
        self, database: Database, peers: Peers, clock: Clock, *, retention: timedelta
    ) -> None:
        """Read the record; decisions are kept for `retention`."""
        self._records = RecordStore(database)
        self._campaigns = CampaignStore(database)
        self._versions = VersionStore(database)
        self._settings = SettingsStore(database)
        self._peers = peers
        self._clock = clock
        self._retention = retention

    async def explain(self, request: pb.ExplainDecisionRequest) -> pb.DecisionExplanation:
        """Return the decisions asked about, or why there is none."""
        workspace, profile = parse_name(request.profile, "profiles", field="profile")
        of, campaign = parse_name(request.campaign, "campaigns", field="campaign")
        if of != workspace:
            raise invalid_field("campaign", "must be of the profile's workspace")
        time = _time(request)
        rows = await self._rows(workspace, profile, campaign, request.event_id, time)
        if not rows:
            silence = await self._silence(workspace, profile, campaign, request.event_id, time)
            summary, findings = silence_of(silence)
            return pb.DecisionExplanation(summary=summary, findings=findings)
        return await self._explained(workspace, rows)

    async def _rows(
        self, workspace: str, profile: str, campaign: str, event_id: str, time: datetime | None
    ) -> list[DecisionRow]:
        near = time is not None and not event_id
        rows = await self._records.page(
            workspace,
            profile,
            campaign=campaign,
            event_id=event_id,
            before=(time + _AROUND, "", _NO_EVENT) if time is not None and near else None,
            limit=_DECISIONS_MAX if event_id or near else 1,
        )
        return [
            row for row in rows if time is None or event_id or row.decide_time >= time - _AROUND
        ]

    async def _explained(
        self, workspace: str, rows: Sequence[DecisionRow]
    ) -> pb.DecisionExplanation:
        newest = rows[0]
        decisions = [to_decision(workspace, row) for row in rows]
        ending = await self._ending(decisions[0].delivery)
        explanation = pb.DecisionExplanation(
            summary=summary_of(newest, ending), decisions=decisions
        )
        gate = refusing_gate(newest.gates)
        if gate is not None and gate.name == "frequency_cap":
            await self._add_cap(explanation, workspace, newest, gate)
        return explanation

    async def _ending(self, delivery: str) -> Ending | None:
        return await self._peers.delivery.ending(delivery) if delivery else None

    async def _add_cap(
        self,
        explanation: pb.DecisionExplanation,
        workspace: str,
        row: DecisionRow,
        gate: Gate,
    ) -> None:
        people = await self._peers.profile.people([(workspace, row.profile)])
        async with self._campaigns.database.connection() as connection:
            settings = (await self._settings.get(connection, workspace)).settings
        uses = await self._peers.throttle.cap_uses(
            format_name(workspace, "profiles", row.profile),
            row.channel,
            zone_of(people[workspace, row.profile], settings),
            gate.time,
        )
        use = reached_cap(uses, gate)
        if use is None:
            explanation.findings.append("the frequency cap that refused it is no more")
            return
        explanation.cap.frequency_cap = use.name
        explanation.cap.limit = use.limit
        explanation.cap.deliveries.extend(
            format_name(workspace, "deliveries", str(UUID(bytes=one))) for one in use.send_ids
        )

    async def _silence(
        self,
        workspace: str,
        profile: str,
        campaign: str,
        event_id: str,
        time: datetime | None,
    ) -> Silence:
        now = self._clock.now()
        async with self._campaigns.database.connection() as connection:
            stored = await self._campaigns.get(connection, workspace, campaign)
        if stored is None:
            return Silence(
                campaign=campaign,
                profile=profile,
                now=now,
                retention=self._retention,
                event_id=event_id,
                moment=time,
            )
        then = await self._as_of(stored, time or now)
        spec = Campaign.FromString(then.spec)
        plan = to_plan(then, Contexts())
        by_event = plan.recipient is not RecipientKind.AUDIENCE
        begins_with = plan.trigger_type if by_event else ""
        heard = await self._heard(workspace, profile, begins_with, event_id, time, now)
        return Silence(
            campaign=campaign,
            profile=profile,
            now=now,
            retention=self._retention,
            event_id=event_id,
            moment=heard[-1].occur_time if event_id and heard else time,
            create_time=stored.create_time,
            moves=tuple(await self._versions.moves(workspace, campaign)),
            begins_with=begins_with,
            of_others=plan.elsewhere,
            start_time=from_timestamp(spec.start_time) if spec.HasField("start_time") else None,
            end_time=from_timestamp(spec.end_time) if spec.HasField("end_time") else None,
            heard=tuple(heard),
        )

    async def _as_of(self, stored: StoredCampaign, moment: datetime) -> StoredCampaign:
        version = await self._versions.at(stored.workspace, stored.campaign, moment)
        return stored if version is None else as_of(stored, version)

    async def _heard(
        self,
        workspace: str,
        profile: str,
        type_: str,
        event_id: str,
        time: datetime | None,
        now: datetime,
    ) -> list[Heard]:
        if not type_:
            return []
        since = time - _AROUND if time is not None else now - _LOOK_BACK
        query = EventQuery(workspace, profile, frozenset({type_}), since)
        [found] = await self._peers.profile.events([query])

        def meant(event: Occurrence) -> bool:
            if event_id:
                return event.event_id == event_id
            return time is None or event.occur_time <= time + _AROUND

        return [Heard(one.event_id, one.type, one.occur_time) for one in found if meant(one)]


def _time(request: pb.ExplainDecisionRequest) -> datetime | None:
    if not request.HasField("time"):
        return None
    try:
        time = from_timestamp(request.time)
        # The hours around it must be times too.
        _ = time - _AROUND, time + _AROUND
    except OverflowError:
        raise invalid_field(
            "time", "must be from the years 1 to 9999", reason="timestamp"
        ) from None
    return time
