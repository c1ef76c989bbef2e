"""May a message whose time has come go out, and what follows from throttle's word?"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from services.trigger.model import (
    Allowed,
    CampaignState,
    Deferred,
    Enrollment,
    EnrollmentState,
    Exit,
    Gate,
    Hold,
    Occurrence,
    Person,
    Plan,
    Release,
    Stop,
    Suppressed,
    ThrottleVerdict,
    WaitOn,
    WindowSummary,
)
from services.trigger.rules.digests import summary_gate, waits_on
from services.trigger.rules.exceptions import DATE, judge_exception
from services.trigger.rules.gates import passed, refused
from services.trigger.rules.replanning import outdated
from services.trigger.rules.timing import expiry, may_go, wait_on
from services.trigger.rules.triggers import exception_known
from services.trigger.rules.variants import message_of
from services.trigger.rules.versions import plan_for, sent_out
from services.trigger.rules.zones import zone_of

# A bug is mended in minutes at best.
_SET_BACK = timedelta(minutes=1)


def judge_release(
    plan: Plan | None,
    passage: Enrollment,
    person: Person,
    *,
    now: datetime,
    window: WindowSummary | None = None,
) -> Release | Hold | WaitOn | Exit:
    """Ask again what was true when the passage began; nothing of it may still be.

    The event's part is as it was; the campaign and the profile are of now, and so is the clock
    by which local times and send windows are reckoned. Of a digest, whose passage comes with
    what is left in its window, the latest event is asked about.
    """
    if plan is not None and sent_out(plan, passage):
        seen = f"version {plan.past.exit_version} ends it"
        return Exit((*passage.gates, refused("version", seen, now)))
    plan = plan_for(plan, passage) if plan is not None else None
    # What expired while its campaign was paused is over all the same.
    if plan is not None and plan.state is CampaignState.PAUSED and now < passage.expire_time:
        return Hold()
    gates = list(passage.gates)
    if not _all_pass(gates, _of_the_campaign(plan, passage, now)) or plan is None:
        return Exit(tuple(gates))
    zone = zone_of(person, plan.settings)
    later = wait_on(plan, passage, zone, now=now)
    if later is not None:
        return later
    longer = waits_on(plan, passage, zone, now=now)
    if longer is not None:
        return WaitOn(longer)
    gates.extend(may_go(plan, zone, now=now))
    if not _all_pass(gates, _of_the_person(plan, passage, person, window, now)):
        return Exit(tuple(gates))
    message, instead = message_of(plan, passage.variant, now=now)
    if instead is not None:
        gates.append(instead)
    if passage.digest_key is not None and plan.digest is not None:
        message = plan.digest.message or message
    return Release(
        replace(
            passage,
            state=EnrollmentState.SENDING,
            expire_time=expiry(plan, passage.due_time),
            gates=tuple(gates),
            campaign_version=plan.version,
            channel=message.channel,
            template=message.template,
            critical=plan.critical,
            release_time=now,
            dwelling=False,
        )
    )


def _all_pass(gates: list[Gate], asked: Iterable[Gate]) -> bool:
    """Put gates on record, up to the first that refuses."""
    for gate in asked:
        gates.append(gate)
        if not gate.passed:
            return False
    return True


def _of_the_campaign(plan: Plan | None, passage: Enrollment, now: datetime) -> Iterator[Gate]:
    state = plan.state if plan is not None else CampaignState.ARCHIVED
    active = state in (CampaignState.ACTIVE, CampaignState.PAUSED)
    yield Gate("campaign_active", active, state.value, now)
    if plan is None:
        return
    ended = plan.end_time is not None and now >= plan.end_time
    yield Gate("schedule", not ended, "ended" if ended else "open", now)
    expire = expiry(plan, passage.due_time)
    yield Gate("expiry", now < expire, f"expires {expire.isoformat()}", now)


def _of_the_person(
    plan: Plan,
    passage: Enrollment,
    person: Person,
    window: WindowSummary | None,
    now: datetime,
) -> Iterator[Gate]:
    event = passage.event
    if window is not None:
        yield summary_gate(window, now=now)
        event = window.latest or event
    if plan.date is not None:
        why = outdated(plan, event, person)
        yield Gate(DATE, not why, why or "as it was", now)
    if plan.filter is not None:
        holds, seen = plan.filter(event, person, None, now)
        yield Gate("filter", holds, seen, now)
    if plan.exceptions:
        since = exception_known(plan, event, person)
        yield Gate("exception", not since, since or "none since", now)


def asks_for_events(plan: Plan | None, passage: Enrollment, person: Person) -> bool:
    """Say whether exceptions may have been missed that only their events can tell.

    Of a person whose events come in several places of the log, one may have been judged before
    the passage was there to be stopped. What an exception without a filter was, the profile says.
    """
    if plan is None or passage.digest_key is not None:
        # Of a digest exceptions are judged event by event, as they come.
        return False
    plan = plan_for(plan, passage)
    if any(rule.early for rule in plan.exceptions):
        return True
    if not (plan.elsewhere or person.members or passage.member):
        return False
    return any(
        rule.filter is not None or rule.event_type == plan.trigger_type for rule in plan.exceptions
    )


def stopped_meanwhile(
    plan: Plan, passage: Enrollment, events: Iterable[Occurrence], person: Person, *, now: datetime
) -> Exit | None:
    """Return how the passage ends if one of the events was an exception that it has missed."""
    for event in events:
        verdict = judge_exception(plan, event, person, passage, now=now)
        if isinstance(verdict, Stop):
            return Exit((*passage.gates, verdict.gate))
    return None


def set_back(passage: Enrollment, *, now: datetime) -> Enrollment:
    """Return a passage that could not be judged, for a bug: to be tried again until it expires."""
    if now < passage.expire_time:
        return replace(passage, wake_time=now + _SET_BACK)
    gate = refused("expiry", "could not be judged for a failure of ours", now)
    return replace(passage, state=EnrollmentState.EXITED, gates=(*passage.gates, gate))


def after_throttle(passage: Enrollment, verdict: ThrottleVerdict, *, now: datetime) -> Enrollment:
    """Return the passage after throttle judged it: to be sent, to wait, or over."""
    match verdict:
        case Allowed():
            gates = (
                passed("consent", "allowed", now),
                passed("frequency_cap", "reserved", now),
            )
            return replace(passage, state=EnrollmentState.SENT, gates=(*passage.gates, *gates))
        case Deferred(until, gate, detail) if until < passage.expire_time:
            seen = refused(gate, f"{detail}; waits until {until.isoformat()}", now)
            return replace(
                passage,
                state=EnrollmentState.WAITING,
                # Never at once again: a verdict of the past must not become a busy loop.
                wake_time=max(until, now),
                gates=(*passage.gates, seen),
            )
        case Deferred(until, gate, detail):
            over = refused(gate, f"{detail}; a place at {until.isoformat()} is too late", now)
            return replace(passage, state=EnrollmentState.EXITED, gates=(*passage.gates, over))
        case Suppressed(gate, detail):
            never = refused(gate, detail, now)
            return replace(passage, state=EnrollmentState.EXITED, gates=(*passage.gates, never))


def judge_owed(
    plan: Plan | None,
    passage: Enrollment,
    person: Person,
    *,
    now: datetime,
    window: WindowSummary | None = None,
) -> Release | Exit:
    """Judge a send that a worker left behind: it may be out already, or wait since long.

    It goes on as it was released, even when its campaign is paused by now; what would end it
    ends it.
    """
    if plan is not None and plan.state is CampaignState.PAUSED:
        plan = replace(plan, state=CampaignState.ACTIVE)
    match judge_release(plan, passage, person, now=now, window=window):
        case Exit() as verdict:
            return verdict
        case Release() | Hold() | WaitOn():
            return Release(passage)


def after_cancel(passage: Enrollment, *, canceled: bool, now: datetime) -> Enrollment:
    """Return the passage after delivery said whether it could still be stopped."""
    if canceled:
        return replace(passage, state=EnrollmentState.EXITED)
    late = passed("exception", "came too late: a provider has the message", now)
    return replace(passage, state=EnrollmentState.SENT, gates=(*passage.gates, late))
