"""Campaigns: the message, what is stored of it, and the plan to judge with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.expressions import (
    Context,
    EventFacts,
    Expression,
    ExpressionFailed,
    ProfileFacts,
    compile_expression,
    make_context,
)
from mesh.names import format_name, parse_name
from services.trigger.convert.beginnings import with_beginning
from services.trigger.convert.digests import digest_filters, to_digest
from services.trigger.convert.goals import goal_filters, to_goals
from services.trigger.convert.regions import with_crossing
from services.trigger.convert.schedules import with_audience
from services.trigger.convert.times import from_duration, from_timestamp, to_timestamp
from services.trigger.convert.timing import to_timing
from services.trigger.convert.variants import to_variants, variant_filters
from services.trigger.model import (
    CampaignState,
    ExceptionRule,
    Occurrence,
    Person,
    Plan,
    Predicate,
    RecipientKind,
    Seen,
    StoredCampaign,
)

_LATENESS = timedelta(hours=1)
_TIME_TO_LIVE = timedelta(hours=72)
_PASSED = Seen(passed=True, detail="true")
_FAILED = Seen(passed=False, detail="false")

_RECIPIENTS = {
    "event_property": RecipientKind.PROPERTY,
    "relation": RecipientKind.RELATION,
    "team": RecipientKind.TEAM,
}
# What other columns say, or the caller alone.
_NOT_STORED = ("name", "state", "version", "etag", "create_time", "update_time", "launch_time")


def stored_spec(campaign: Campaign) -> bytes:
    """Return what is stored of a campaign besides its columns."""
    spec = Campaign()
    spec.CopyFrom(campaign)
    for name in _NOT_STORED:
        spec.ClearField(name)  # type: ignore[arg-type]
    return spec.SerializeToString(deterministic=True)


def to_campaign(stored: StoredCampaign) -> Campaign:
    """Return a stored campaign as callers see it."""
    campaign = Campaign.FromString(stored.spec)
    campaign.name = format_name(stored.workspace, "campaigns", stored.campaign)
    campaign.state = Campaign.State.Value(f"STATE_{stored.state.upper()}")
    campaign.version = stored.version
    campaign.etag = str(stored.revision)
    campaign.create_time.CopyFrom(to_timestamp(stored.create_time))
    campaign.update_time.CopyFrom(to_timestamp(stored.update_time))
    if stored.launch_time is not None:
        campaign.launch_time.CopyFrom(to_timestamp(stored.launch_time))
    return campaign


def state_of(state: Campaign.State.ValueType) -> str:
    """Return a state of the wire as it is stored."""
    return Campaign.State.Name(state).removeprefix("STATE_").lower()


def filters_of(campaign: Campaign) -> Iterator[tuple[str, str, bool]]:
    """Yield each filter: its field path, its source, and whether it sees `trigger`."""
    yield "campaign.trigger.filter", campaign.trigger.filter, False
    for index, exception in enumerate(campaign.exceptions):
        yield f"campaign.exceptions[{index}].filter", exception.filter, True
    yield from variant_filters(campaign)
    yield from goal_filters(campaign)
    yield from digest_filters(campaign)


@dataclass(slots=True)
class Contexts:
    """Makes the context of an event once, however many expressions ask for it."""

    _of: tuple[Occurrence, Person, Occurrence | None, datetime] | None = None
    _context: Context | None = field(default=None)

    def of(
        self, event: Occurrence, person: Person, trigger: Occurrence | None, now: datetime
    ) -> Context:
        """Return the context; the same as before if the same is asked for."""
        last = self._of
        if (
            self._context is None
            or last is None
            or last[0] is not event
            or last[1] is not person
            or last[2] is not trigger
            or last[3] is not now
        ):
            self._of = (event, person, trigger, now)
            self._context = make_context(
                event=_event_facts(event),
                profile=facts_of(person),
                now=now,
                trigger=None if trigger is None else _event_facts(trigger),
            )
        return self._context


def to_plan(stored: StoredCampaign, contexts: Contexts) -> Plan:
    """Compile a stored campaign.

    Raises:
        InvalidArgument: An expression that compiled once does not any more.
    """
    campaign = Campaign.FromString(stored.spec)
    message = campaign.message
    plan = Plan(
        workspace=stored.workspace,
        campaign=stored.campaign,
        state=CampaignState(stored.state),
        version=stored.version,
        trigger_type=campaign.trigger.event_type,
        filter=_predicate(campaign.trigger.filter, contexts, with_trigger=False),
        recipient=_RECIPIENTS.get(campaign.recipient.WhichOneof("who") or "", RecipientKind.ACTOR),
        recipient_property=campaign.recipient.event_property,
        include_actor=campaign.recipient.include_actor,
        delay=from_duration(campaign.delay),
        timing=to_timing(campaign),
        exceptions=tuple(
            ExceptionRule(one.event_type, _predicate(one.filter, contexts, with_trigger=True))
            for one in campaign.exceptions
        ),
        start_time=_time(campaign, "start_time"),
        end_time=_time(campaign, "end_time"),
        reentry_interval=_span(campaign, "reentry_interval", None),
        max_trigger_lateness=_span(campaign, "max_trigger_lateness", _LATENESS) or timedelta(0),
        time_to_live=_span(campaign, "time_to_live", _TIME_TO_LIVE) or _TIME_TO_LIVE,
        channel=message.channel,
        template=parse_name(message.template, "templates")[1],
        critical=campaign.critical,
        variants=to_variants(
            campaign,
            stored.campaign,
            lambda source: _predicate(source, contexts, with_trigger=False),
        ),
        goals=to_goals(campaign, lambda source: _predicate(source, contexts, with_trigger=True)),
        reentry_property=campaign.reentry_property,
        simultaneous_max=campaign.simultaneous_max,
        ignores_holdout=campaign.ignores_holdout,
        past=stored.past,
        digest=to_digest(
            campaign,
            lambda source, with_trigger: _predicate(source, contexts, with_trigger=with_trigger),
        ),
    )
    plan = with_audience(replace(plan, launch_time=stored.launch_time), campaign)
    if campaign.trigger.HasField("region"):
        return with_crossing(plan, campaign.trigger.region)
    return with_beginning(plan, campaign)


def _predicate(source: str, contexts: Contexts, *, with_trigger: bool) -> Predicate | None:
    if not source:
        return None
    return _judging(compile_expression(source, with_trigger=with_trigger), contexts.of)


def _judging(
    expression: Expression,
    context_of: Callable[[Occurrence, Person, Occurrence | None, datetime], Context],
) -> Predicate:
    def judge(event: Occurrence, person: Person, trigger: Occurrence | None, now: datetime) -> Seen:
        try:
            passed = expression.matches(context_of(event, person, trigger, now))
        except ExpressionFailed as failure:
            return Seen(passed=False, detail=str(failure))
        return _PASSED if passed else _FAILED

    return judge


def _event_facts(event: Occurrence) -> EventFacts:
    return EventFacts(event.event_id, event.type, event.occur_time, event.properties)


def facts_of(person: Person) -> ProfileFacts:
    """Return what expressions see of a person."""
    return ProfileFacts(
        id=person.profile,
        attributes=person.attributes,
        counters={type_: {"count": count} for type_, count in person.counts.items()},
        time_zone=person.time_zone,
        locale=person.locale,
        first_seen_time=person.first_seen_time,
        last_seen_time=person.last_seen_time,
        traits=person.traits,
    )


def _time(campaign: Campaign, name: str) -> datetime | None:
    return from_timestamp(getattr(campaign, name)) if campaign.HasField(name) else None  # type: ignore[arg-type]


def _span(campaign: Campaign, name: str, default: timedelta | None) -> timedelta | None:
    return from_duration(getattr(campaign, name)) if campaign.HasField(name) else default  # type: ignore[arg-type]
