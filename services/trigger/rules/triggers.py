"""Does an event begin a passage through a campaign?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from services.trigger.model import (
    CampaignState,
    Due,
    Enrollment,
    EnrollmentState,
    Enter,
    Gate,
    NoDue,
    Occurrence,
    Person,
    Plan,
    Refusal,
    Refuse,
)
from services.trigger.rules.digests import is_urgent, key_of
from services.trigger.rules.exceptions import DATE
from services.trigger.rules.recipients import Recipient
from services.trigger.rules.reentry import reentry_key_of, simultaneous
from services.trigger.rules.replanning import outdated, waits_already
from services.trigger.rules.timing import closed, due_of, expiry
from services.trigger.rules.variants import assign, workspace_holdout
from services.trigger.rules.windows import opening
from services.trigger.rules.zones import zone_of

_Checked = tuple[str, bool, str]
"""Name of a gate, whether it lets the message on, and what was seen."""


def judge_trigger(
    plan: Plan,
    event: Occurrence,
    recipient: Recipient,
    person: Person | None,
    *,
    passages: Sequence[Enrollment],
    last_entry: datetime | None,
    now: datetime,
    arm: str = "",
) -> Enter | Refuse:
    """Ask the gates in order, up to the first that refuses.

    Args:
        plan: the campaign, active or paused.
        event: of the campaign's trigger type.
        recipient: who is to get the message.
        person: how she stands; None: there is nobody.
        passages: the recipient's passages through the campaign that have not ended.
        last_entry: the recipient's latest entry, of all time.
        now: when the gates are asked.
        arm: which variant the hash gave her first; empty: none yet.
    """
    gates: list[Gate] = []
    profile = recipient.profile
    gathers = (
        plan.digest is not None
        and person is not None
        and not is_urgent(plan.digest, event, person, now)
    )
    # What is gathered asks neither: the window is the passage.
    alone: tuple[Callable[[], _Checked], ...] = (
        lambda: reentry(plan, event.occur_time, last_entry),
        *((lambda: simultaneous(plan, passages),) if plan.simultaneous_max else ()),
    )
    checks: tuple[Callable[[], _Checked], ...] = (
        lambda: _campaign_active(plan),
        lambda: _schedule(plan, event, now),
        lambda: _lateness(plan, event),
        lambda: ("recipient", bool(profile), recipient.seen),
        *((lambda: _date(plan, event, person, passages),) if plan.date else ()),
        lambda: _filter(plan, event, person, now),
        lambda: _exception(plan, event, person, passages),
        *(() if gathers else alone),
        *((lambda: workspace_holdout(plan, profile),) if plan.settings.holdout_percent else ()),
        *(
            (lambda: _wait(plan, event, recipient, person, now),)
            if plan.timing.waits or plan.date
            else ()
        ),
    )
    for check in checks:
        name, passed, detail = check()
        gates.append(Gate(name, passed, detail, now))
        if not passed:
            key = plan.key(profile or event.profile)
            member = recipient.member if profile else event.member
            return Refuse(Refusal(key, event, tuple(gates), now, plan.version, member))
    assert person is not None, "the recipient's gate refuses nobody"
    entered = enroll(
        plan,
        event,
        recipient,
        person,
        tuple(gates),
        entry_time=event.occur_time,
        now=now,
        at_once=not gathers,
    )
    if plan.reentry_property:
        # Copying a passage costs more than judging it.
        entered = replace(entered, reentry_key=reentry_key_of(plan, event))
    entered = assign(plan, entered, person, earlier=arm, now=now)
    if plan.digest is not None and gathers and entered.state is EnrollmentState.WAITING:
        entered = replace(entered, digest_key=key_of(plan.digest, event))
    return Enter(entered)


def judge_telling(plan: Plan, event: Occurrence, *, now: datetime) -> Refuse | None:
    """Ask what concerns the event alone before all who are related are gone through."""
    gates: list[Gate] = []
    for name, passed, detail in (
        _campaign_active(plan),
        _schedule(plan, event, now),
        _lateness(plan, event),
    ):
        gates.append(Gate(name, passed, detail, now))
        if not passed:
            key = plan.key(event.profile)
            return Refuse(Refusal(key, event, tuple(gates), now, plan.version, event.member))
    return None


def enroll(
    plan: Plan,
    event: Occurrence,
    recipient: Recipient,
    person: Person,
    gates: tuple[Gate, ...],
    *,
    entry_time: datetime,
    now: datetime,
    at_once: bool = True,
) -> Enrollment:
    """Return the passage that begins; one that is due already is released `at_once`.

    Not so where exceptions had a delay to come in: they may stand right behind the event in a log
    that is judged late, so the timer releases it, which looks there first. Nor where the send
    window is closed: then it waits for its opening. That it is due at all was asked before.
    """
    zone = zone_of(person, plan.settings)
    planned = due_of(plan, event, recipient.named, zone)
    assert isinstance(planned, Due), planned.seen
    # What is planned by a time of its own expires by that, however late the event was.
    due = planned.time if plan.timing.event_property else max(planned.time, now)
    expire = expiry(plan, due)
    # A slot of the campaign's rate is taken by the timer.
    paced = bool(plan.sends_per_minute)
    released = at_once and due <= now and not paced and not (plan.waits and plan.exceptions)
    wake = due
    if released and plan.timing.window:
        opens = opening(plan.timing.window, now, zone)
        released = opens == now
        if not released and opens is not None and opens < expire:
            wake = opens
            gates = (*gates, closed(plan, due, opens, zone, now=now))
    return Enrollment(
        key=plan.key(recipient.profile),
        event=event,
        state=EnrollmentState.SENDING if released else EnrollmentState.WAITING,
        entry_time=entry_time,
        due_time=due,
        wake_time=wake,
        expire_time=expire,
        gates=gates,
        decide_time=now,
        campaign_version=plan.version,
        channel=plan.channel,
        template=plan.template,
        critical=plan.critical,
        release_time=now if released else None,
        dwelling=plan.dwell is not None or plan.date is not None,
        member=recipient.member,
        time_zone=zone if plan.by_her_clock else "",
    )


def _campaign_active(plan: Plan) -> _Checked:
    return "campaign_active", plan.state is CampaignState.ACTIVE, plan.state.value


def _schedule(plan: Plan, event: Occurrence, now: datetime) -> _Checked:
    if plan.start_time and event.occur_time < plan.start_time:
        return "schedule", False, f"occurred before the start at {_text(plan.start_time)}"
    if plan.end_time and max(now, event.occur_time) >= plan.end_time:
        return "schedule", False, f"ended at {_text(plan.end_time)}"
    return "schedule", True, "between start and end" if plan.start_time or plan.end_time else "open"


def _lateness(plan: Plan, event: Occurrence) -> _Checked:
    late = event.receive_time - event.occur_time
    if late <= plan.max_trigger_lateness:
        return "lateness", True, "in time"
    seen = f"received {_span(late)} after it occurred, limit {_span(plan.max_trigger_lateness)}"
    return "lateness", False, seen


def _filter(plan: Plan, event: Occurrence, person: Person | None, now: datetime) -> _Checked:
    if plan.filter is None:
        return "filter", True, "none"
    if person is None:
        return "filter", False, "profile unknown"
    return ("filter", *plan.filter(event, person, None, now))


def _date(
    plan: Plan, event: Occurrence, person: Person | None, passages: Sequence[Enrollment]
) -> _Checked:
    why = outdated(plan, event, person)
    if why:
        return DATE, False, why
    planned = due_of(plan, event, event.member or event.profile, zone_of(person, plan.settings))
    if isinstance(planned, NoDue):
        return DATE, False, planned.seen
    waiting = waits_already(plan, event, passages, planned.time)
    if waiting is not None:
        return DATE, False, f"planned already by {waiting.event.event_id}"
    return DATE, True, planned.seen


def _wait(
    plan: Plan, event: Occurrence, recipient: Recipient, person: Person | None, now: datetime
) -> _Checked:
    zone = zone_of(person, plan.settings)
    due = due_of(plan, event, recipient.named, zone)
    if isinstance(due, NoDue):
        return "wait", False, due.seen
    if plan.timing.event_property and now >= expiry(plan, due.time):
        return "wait", False, f"{due.seen}, expired since"
    if plan.date is not None and now > due.time + plan.max_trigger_lateness:
        return "wait", False, f"{due.seen}, past by more than {_span(plan.max_trigger_lateness)}"
    return "wait", True, due.seen


def _exception(
    plan: Plan, event: Occurrence, person: Person | None, passages: Sequence[Enrollment]
) -> _Checked:
    if not plan.exceptions:
        return "exception", True, "none"
    later = exception_known(plan, event, person)
    if later:
        return "exception", False, later
    if plan.debounces:
        for passage in passages:
            if (
                passage.state is EnrollmentState.WAITING
                and passage.event.occur_time > event.occur_time
            ):
                seen = f"{passage.event.event_id}, which occurred later, waits already"
                return "exception", False, seen
    return "exception", True, "none since"


def exception_known(plan: Plan, event: Occurrence, person: Person | None) -> str:
    """Say which exception is known, by type and time only, to have occurred after the event.

    '' when none is. Those with a filter cannot be known without their event, and those of
    the trigger's own type restart or stop by theirs.
    """
    if person is None:
        return ""
    for rule in plan.exceptions:
        if rule.filter is not None or rule.event_type == plan.trigger_type:
            continue
        last = person.last_times.get(rule.event_type)
        # At the same instant the order of the log decides: what the log had before the
        # trigger stops nothing, what comes after it is judged as an event.
        if last is not None and last > event.occur_time:
            return f"{rule.event_type} occurred at {_text(last)}"
    return ""


def reentry(plan: Plan, at: datetime, last_entry: datetime | None) -> _Checked:
    """Say whether somebody who entered last then may enter again at `at`."""
    if last_entry is None:
        return "reentry", True, "first entry"
    interval = plan.reentry_interval
    if interval is None:
        return "reentry", False, f"once only; entered at {_text(last_entry)}"
    if interval and at < last_entry + interval:
        return "reentry", False, f"entered at {_text(last_entry)}, again after {_span(interval)}"
    return "reentry", True, f"entered last at {_text(last_entry)}"


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _span(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
