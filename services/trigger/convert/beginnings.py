"""What begins a campaign, whatever the kind, as an event that is listened for."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import time, timedelta
from hashlib import sha256

from beckon.trigger.v1.campaign_service_pb2 import (
    AttributeChange,
    Campaign,
    DateAttribute,
    Inactivity,
    Interaction,
    Milestone,
    SegmentChange,
)
from google.protobuf import json_format
from google.protobuf.message import Message

from mesh.errors import invalid_field
from mesh.names import parse_name, workspace_of
from services.trigger.convert.times import from_duration
from services.trigger.model import DatePlan, ExceptionRule, Match, Plan, Predicate
from services.trigger.rules.beginnings import ANYTHING, answered, back, both, changed, silent
from services.trigger.rules.exceptions import IGNORED

ATTRIBUTE_CHANGED = "attribute_changed"
CONDITION_ENTERED = "condition_entered"
CONDITION_EXITED = "condition_exited"
_SENT = "message_sent"
_LATENESS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that profile is to watch: its beginning and its end become events."""

    id: str
    filter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """An event that is listened for, and what comes with it."""

    type: str
    match: Match | None = None
    filter: Predicate | None = None
    """Besides the campaign's own."""
    dwell: timedelta | None = None
    """How long to wait before anything else is waited for."""
    exceptions: tuple[ExceptionRule, ...] = ()
    """Besides the campaign's own."""
    date: DatePlan | None = None
    attribute: str = ""
    """That profile is to watch."""
    condition: Condition | None = None
    """Likewise."""


def to_beginning(campaign_id: str, campaign: Campaign) -> Beginning | None:
    """Return what a campaign begins with; None: with an event as it is, or otherwise."""
    trigger = campaign.trigger
    match trigger.WhichOneof("beginning"):
        case "attribute":
            return _attribute(trigger.attribute)
        case "segment":
            return _segment(trigger.segment)
        case "date":
            return _date(trigger.date)
        case "inactivity":
            return _inactivity(campaign_id, trigger.inactivity, _lateness(campaign))
        case "interaction":
            return _interaction(trigger.interaction)
        case "milestone":
            return _milestone(campaign_id, trigger.milestone)
        case _:
            return None


def with_beginning(plan: Plan, campaign: Campaign) -> Plan:
    """Return the plan of a campaign, which begins as that says."""
    beginning = to_beginning(plan.campaign, campaign)
    if beginning is None:
        return plan
    return replace(
        plan,
        trigger_type=beginning.type,
        match=beginning.match,
        filter=both(beginning.filter, plan.filter),
        dwell=beginning.dwell,
        exceptions=(*plan.exceptions, *beginning.exceptions),
        date=beginning.date,
    )


def conditions_of(beginnings: Iterable[Beginning]) -> list[Condition]:
    """Return what profile is to watch for these, each once."""
    return sorted(
        {one.condition for one in beginnings if one.condition is not None}, key=lambda one: one.id
    )


def attributes_of(beginnings: Iterable[Beginning]) -> list[str]:
    """Return the attributes that profile is to watch for these, each once."""
    return sorted({one.attribute for one in beginnings if one.attribute})


def check_beginning(campaign: Campaign, workspace: str) -> None:
    """Raise InvalidArgument, naming the field, unless what begins the campaign makes sense."""
    trigger = campaign.trigger
    match trigger.WhichOneof("beginning"):
        case "segment":
            _check_workspace(trigger.segment.segment, "segment.segment", workspace)
        case "interaction":
            _check_workspace(trigger.interaction.campaign, "interaction.campaign", workspace)
            if trigger.interaction.HasField("ignored_for"):
                _check_ignored(trigger.interaction)
        case "date":
            _check_date(campaign)
        case _:
            pass


def _check_workspace(name: str, field: str, workspace: str) -> None:
    if workspace_of(name, field=f"campaign.trigger.{field}") != workspace:
        raise invalid_field(
            f"campaign.trigger.{field}", "must be of the campaign's workspace", reason="workspace"
        )


def _check_ignored(interaction: Interaction) -> None:
    if interaction.event_type == _SENT:
        raise invalid_field(
            "campaign.trigger.interaction.event_type",
            "what is sent cannot be ignored by not being sent",
            reason="ignored",
        )


def _check_date(campaign: Campaign) -> None:
    date = campaign.trigger.date
    if date.local_time and from_duration(date.offset) % timedelta(days=1):
        raise invalid_field(
            "campaign.trigger.date.offset", "must be whole days with local_time", reason="days"
        )
    if campaign.HasField("recipient"):
        # Whose date it is must be who gets the message: her date is asked for again.
        raise invalid_field(
            "campaign.recipient", "cannot be another than whose date it is", reason="date"
        )


def _attribute(change: AttributeChange) -> Beginning:
    return Beginning(
        type=ATTRIBUTE_CHANGED,
        match=_only("attribute", change.attribute),
        filter=changed(_value(change, "from"), _value(change, "to")),
        attribute=change.attribute,
    )


def _segment(change: SegmentChange) -> Beginning:
    return Beginning(
        type="segment_exited" if change.exited else "segment_entered",
        match=_only("segment", parse_name(change.segment, "segments")[1]),
    )


def _date(date: DateAttribute) -> Beginning:
    return Beginning(
        type=ATTRIBUTE_CHANGED,
        match=_only("attribute", date.attribute),
        date=DatePlan(
            date.attribute,
            from_duration(date.offset),
            time.fromisoformat(date.local_time) if date.local_time else None,
        ),
        attribute=date.attribute,
    )


def _inactivity(campaign_id: str, silence: Inactivity, lateness: timedelta) -> Beginning:
    duration, type_ = from_duration(silence.duration), silence.event_type
    last = f'profile.counters["{type_}"].last_time' if type_ else "profile.last_seen_time"
    seconds = duration.total_seconds()
    condition = _condition(campaign_id, f'{last} <= now - duration("{seconds:.6f}s")')
    match = _only("condition", condition.id)
    if silence.returned:
        return Beginning(
            type=CONDITION_EXITED, match=match, filter=back(lateness, type_), condition=condition
        )
    return Beginning(
        type=CONDITION_ENTERED,
        match=match,
        filter=silent(duration, type_),
        exceptions=(ExceptionRule(CONDITION_EXITED, match=match),),
        condition=condition,
    )


def _interaction(interaction: Interaction) -> Beginning:
    match = _only("campaign", parse_name(interaction.campaign, "campaigns")[1])
    if not interaction.HasField("ignored_for"):
        return Beginning(type=interaction.event_type, match=match)
    ignored_for = from_duration(interaction.ignored_for)
    return Beginning(
        type=_SENT,
        match=match,
        dwell=ignored_for,
        exceptions=(
            ExceptionRule(
                interaction.event_type,
                answered(ignored_for),
                gate=IGNORED,
                match=match,
                early=True,
            ),
        ),
    )


def _milestone(campaign_id: str, milestone: Milestone) -> Beginning:
    # As CEL writes it: a double, whatever it is equal to.
    condition = _condition(campaign_id, f"profile.traits.{milestone.trait} >= {milestone.value!r}")
    return Beginning(
        type=CONDITION_ENTERED, match=_only("condition", condition.id), condition=condition
    )


def _condition(campaign_id: str, filter_: str) -> Condition:
    return Condition(f"{campaign_id}:{sha256(filter_.encode()).hexdigest()[:16]}", filter_)


def _only(name: str, value: str) -> Match:
    return Match(name, frozenset({value}))


def _value(message: Message, name: str) -> object:
    if not message.HasField(name):
        return ANYTHING
    return json_format.MessageToDict(getattr(message, name))


def _lateness(campaign: Campaign) -> timedelta:
    if campaign.HasField("max_trigger_lateness"):
        return from_duration(campaign.max_trigger_lateness)
    return _LATENESS
