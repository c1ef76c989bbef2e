"""Audiences and schedules: the message, and what is planned with."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

from beckon.profile.v1.watch_service_pb2 import StreamAudienceRequest
from beckon.trigger.v1.campaign_service_pb2 import Audience, Campaign, Recipient
from beckon.trigger.v1.campaign_service_pb2 import Schedule as WireSchedule
from cronsim import CronSim, CronSimError
from dateutil.rrule import DAILY, HOURLY, WEEKLY, rrule, rrulestr

from mesh.errors import InvalidArgument, invalid_field
from mesh.names import format_name, parse_name, workspace_of
from services.trigger.convert.months import (
    cron_with_last_days,
    is_meant,
    rule_with_last_days,
)
from services.trigger.model import Occurrence, Plan, RecipientKind, Schedule
from services.trigger.rules import known_zone

_FIELD = "campaign.trigger.schedule"
SCHEDULED = "schedule"
REQUESTED = "request"
# Rules that hold once in a leap century are no reason to count days for ever.
_HORIZON = timedelta(days=366 * 12)
_CRON_FIELDS = 5
_LAST = datetime(9998, 1, 1)  # noqa: DTZ001 — civil
_FREQUENCIES = frozenset({"YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"})
_OFTEN = "goes out oftener than hourly"
# What a rule may name, at most, and whether it may be counted from the end.
_NUMBERS = {
    "INTERVAL": (10_000, False),
    "COUNT": (10_000, False),
    "BYMONTH": (12, False),
    "BYMONTHDAY": (31, True),
    "BYYEARDAY": (366, True),
    "BYWEEKNO": (53, True),
    "BYSETPOS": (366, True),
    "BYHOUR": (23, False),
    "BYMINUTE": (59, False),
}
_DIGITS_MAX = 6
# Days or hours that are looked at for one time: the years above of hours.
_LOOKS_MAX = 120_000
# Every second somebody asks what is next, and it is the same.
_KEPT_MAX = 32
_UNITS = {HOURLY: timedelta(hours=1), DAILY: timedelta(days=1), WEEKLY: timedelta(weeks=1)}


def with_audience(plan: Plan, campaign: Campaign) -> Plan:
    """Return the plan of a campaign that goes out to many, or to whom a caller names."""
    recipient = campaign.recipient
    plan = replace(plan, sends_per_minute=campaign.sends_per_minute)
    match campaign.trigger.WhichOneof("beginning"):
        case "schedule":
            schedule = to_schedule(campaign.trigger.schedule)
            return replace(
                plan,
                trigger_type=SCHEDULED,
                recipient=RecipientKind.AUDIENCE,
                schedule=schedule,
            )
        case "request":
            return replace(plan, trigger_type=REQUESTED, recipient=RecipientKind.AUDIENCE)
        case _:
            pass
    match recipient.WhichOneof("who"):
        case "relation":
            return replace(plan, relation=recipient.relation.SerializeToString(deterministic=True))
        case "team":
            team = tuple(parse_name(one, "profiles")[1] for one in recipient.team.profiles)
            return replace(plan, team=team)
        case _:
            return plan


def to_schedule(schedule: WireSchedule) -> Schedule:
    """Return the times of a schedule.

    Raises:
        InvalidArgument: One of its fields makes no times; the field is named.
    """
    first = _date_time(schedule.date_time) if schedule.date_time else None
    again: Callable[[datetime], datetime | None] | None = None
    if schedule.recurrence and schedule.cron:
        raise invalid_field(f"{_FIELD}.cron", "cannot be set with recurrence", reason="schedule")
    if schedule.recurrence:
        if first is None:
            message = "is counted from date_time, which is not set"
            raise invalid_field(f"{_FIELD}.recurrence", message, reason="schedule")
        again = _recurrence(schedule.recurrence, first)
    elif schedule.cron:
        again = _cron(schedule.cron, first)
        if first is not None:
            first = again(first - timedelta(minutes=1))
    if schedule.recipient_time and first is None and again is None:
        message = "needs date_time or cron: by whose clock is the instant of launch?"
        raise invalid_field(f"{_FIELD}.recipient_time", message, reason="schedule")
    if schedule.time_zone and not known_zone(schedule.time_zone):
        raise invalid_field(f"{_FIELD}.time_zone", "is no IANA time zone", reason="time_zone")
    return Schedule(
        audience=schedule.audience.SerializeToString(deterministic=True),
        first=first,
        again=again,
        time_zone=schedule.time_zone,
        recipient_time=schedule.recipient_time,
    )


def check_audience(campaign: Campaign, workspace: str) -> None:
    """Raise InvalidArgument, naming the field, unless whom the message is for can be told."""
    trigger = campaign.trigger
    kind = trigger.WhichOneof("beginning")
    if kind in ("schedule", "request") and campaign.HasField("recipient"):
        raise invalid_field(
            "campaign.recipient", f"is said by trigger.{kind} already", reason="recipient"
        )
    if kind == "schedule":
        to_schedule(trigger.schedule)
        _check_who(trigger.schedule.audience, workspace)
    recipient = campaign.recipient
    if recipient.WhichOneof("who") == "team":
        for at, name in enumerate(recipient.team.profiles):
            field = f"campaign.recipient.team.profiles[{at}]"
            parse_name(name, "profiles", field=field)
            _check_workspace(name, workspace, field)


def audience_request(plan: Plan, event: Occurrence) -> StreamAudienceRequest:
    """Return what profile is asked about whom a broadcast is for."""
    request = StreamAudienceRequest(parent=f"workspaces/{plan.workspace}")
    if plan.schedule is not None:
        audience = Audience.FromString(plan.schedule.audience)
        match audience.WhichOneof("who"):
            case "segment":
                request.segment = audience.segment
            case "filter":
                request.filter = audience.filter
            case _:
                request.everyone = True
        return request
    relation = Recipient.Relation.FromString(plan.relation)
    related = request.related
    related.profile = format_name(plan.workspace, "profiles", event.profile)
    related.kind, related.filter = relation.kind, relation.filter
    related.incoming, related.mutual = not relation.outgoing, relation.mutual
    return request


def _check_who(audience: Audience, workspace: str) -> None:
    field = f"{_FIELD}.audience"
    if audience.WhichOneof("who") is None:
        raise invalid_field(field, "must be a segment, a filter or everyone", reason="required")
    if audience.segment:
        _check_workspace(audience.segment, workspace, f"{field}.segment")
    if audience.HasField("filter") and not audience.filter:
        # Whoever meant nobody would have everybody.
        message = "is empty; all profiles are meant by everyone"
        raise invalid_field(f"{field}.filter", message, reason="required")


def _check_workspace(name: str, workspace: str, field: str) -> None:
    if workspace_of(name, field=field) != workspace:
        raise invalid_field(field, "must be of the campaign's workspace", reason="workspace")


def _date_time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text} is no time of any day"
        raise invalid_field(f"{_FIELD}.date_time", message, reason="schedule") from None
    if found >= _LAST or found.year < 1971:
        message = "must be from the years 1971 to 9997"
        raise invalid_field(f"{_FIELD}.date_time", message, reason="schedule")
    return found


def _recurrence(text: str, first: datetime) -> Callable[[datetime], datetime | None]:
    parts = _parts(text)
    frequency = parts.get("FREQ", "")
    several = any(len(parts.get(name, "").split(",")) > 1 for name in ("BYMINUTE", "BYSECOND"))
    if frequency in ("MINUTELY", "SECONDLY") or several:
        raise _bad_recurrence(_OFTEN)
    if frequency not in _FREQUENCIES:
        raise _bad_recurrence(f"FREQ must be one of {', '.join(sorted(_FREQUENCIES))}")
    for name, value in parts.items():
        _check_part(name, value)
    try:
        rule = rrulestr(rule_with_last_days(parts, first), dtstart=first)
        if not isinstance(rule, rrule):
            raise _bad_recurrence("must be one rule")
        _within(rule, first)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise _bad_recurrence(str(error)) from None
    except _Endless:
        raise _bad_recurrence("comes to no second time for many years") from None

    @lru_cache(maxsize=_KEPT_MAX)
    def again(after: datetime) -> datetime | None:
        # DTSTART is the first of a recurrence, whether the rule says so or not.
        if after < first:
            return first
        try:
            return _within(_nearer(rule, after), after)
        except _Endless:
            return None

    return again


def _check_part(name: str, value: str) -> None:
    """Refuse what the library would count on for ever, or take for something else."""
    if name in ("BYSECOND", "BYEASTER"):
        raise _bad_recurrence(f"{name} is not known here")
    most, signed = _NUMBERS.get(name, (0, False))
    if not most:
        return
    for one in value.split(","):
        digits = one.lstrip("+-") if signed else one
        known = digits.isascii() and digits.isdigit() and len(digits) < _DIGITS_MAX
        least = 0 if name in ("BYHOUR", "BYMINUTE") else 1
        if not known or not least <= int(digits) <= most:
            raise _bad_recurrence(f"{name} {one} must be from {least} to {most}")


class _Endless(Exception):
    """A rule has looked at more days than anybody waits for."""


class _Months(frozenset[int]):
    """The months of a rule, asked of every day or hour that it looks at."""

    left = _LOOKS_MAX

    def __contains__(self, month: object) -> bool:
        self.left -= 1
        if self.left < 0:
            raise _Endless
        return super().__contains__(month)


def _nearer(rule: rrule, after: datetime) -> rrule:
    """Return a rule that comes to the same times from then on, and is there at once."""
    unit = _UNITS.get(rule._freq)  # type: ignore[attr-defined] # noqa: SLF001 — it has no other name
    if unit is None or rule._count is not None:  # type: ignore[attr-defined] # noqa: SLF001
        return rule
    step = unit * rule._interval  # type: ignore[attr-defined] # noqa: SLF001
    start: datetime = rule._dtstart  # type: ignore[attr-defined] # noqa: SLF001
    return rule.replace(dtstart=start + max((after - start) // step - 1, 0) * step)


def _within(rule: rrule, after: datetime) -> datetime | None:
    """Return the next time of a rule, if it comes in some years: not all that are written do."""
    with warnings.catch_warnings():
        # A count and an end together are deprecated for who writes rules.
        warnings.simplefilter("ignore", DeprecationWarning)
        horizon = min(after + _HORIZON, _LAST)
        ends = rule._until  # type: ignore[attr-defined] # noqa: SLF001 — it has no other name
        bounded = rule.replace(until=horizon if ends is None else min(ends, horizon))
    # It heeds its end only when it has found something: a rule that finds nothing goes on to the
    # year 9999, or for ever.
    bounded._bymonth = _Months(bounded._bymonth or range(1, 13))  # type: ignore[attr-defined] # noqa: SLF001
    found = bounded.after(after)
    return None if found is None else found.replace(second=0, microsecond=0)


def _parts(text: str) -> dict[str, str]:
    if any(sign in text for sign in "\n\r:"):
        raise _bad_recurrence("must be one rule, without RRULE:, DTSTART or TZID")
    parts = dict[str, str]()
    for one in text.upper().split(";"):
        name, _, value = one.partition("=")
        if not value or name in parts:
            raise _bad_recurrence(f"{one or text} is no NAME=VALUE of its own")
        parts[name] = value
    return parts


def _bad_recurrence(what: str) -> InvalidArgument:
    return invalid_field(f"{_FIELD}.recurrence", what, reason="schedule")


def _cron(text: str, first: datetime | None) -> Callable[[datetime], datetime | None]:
    fields = text.split()
    if len(fields) != _CRON_FIELDS:
        message = f"has {len(fields)} fields, must have {_CRON_FIELDS}"
        raise invalid_field(f"{_FIELD}.cron", message, reason="schedule")
    try:
        some = CronSim(text, datetime(2026, 1, 1))  # noqa: DTZ001 — civil
    except CronSimError as error:
        raise invalid_field(f"{_FIELD}.cron", str(error), reason="schedule") from None
    if len(some.minutes) != 1:
        raise invalid_field(f"{_FIELD}.cron", _OFTEN, reason="schedule")
    line, day = cron_with_last_days(fields)

    def again(after: datetime) -> datetime | None:
        start = after if first is None else max(after, first - timedelta(minutes=1))
        try:
            return next((one for one in CronSim(line, start) if is_meant(one, day)), None)
        except (CronSimError, OverflowError):
            return None

    return again
