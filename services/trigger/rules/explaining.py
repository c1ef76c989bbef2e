"""Says why somebody got a message, or did not, in words for people."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from services.trigger.model import (
    CampaignState,
    CapUse,
    DecisionRow,
    Ending,
    EnrollmentState,
    Gate,
    Move,
    Silence,
)

_REASONS: Mapping[str, str] = {
    "campaign_active": "the campaign was not active",
    "schedule": "the campaign was outside its start and end",
    "lateness": "the event came too late",
    "recipient": "the event names nobody else",
    "filter": "the filter did not hold",
    "exception": "an exception stopped it",
    "reentry": "it was too early to enter again",
    "expiry": "the message expired",
    "consent": "there was no consent",
    "frequency_cap": "a frequency cap was reached",
    "wait": "the time to wait for could not be told",
    "send_window": "no send window opened in time",
    "holdout": "she is held out, to compare with",
    "simultaneous": "too many of hers were under way",
    "digest": "it was taken out of its digest",
    "version": "a change of the campaign ended what was on its way",
    "broadcast": "the broadcast was ended",
    "date": "the date moved, or is no more",
    "dwell": "she did not stay long enough",
    "ignored": "she did not ignore the earlier message",
    "erasure": "somebody of whom it tells was erased",
}
_ENDINGS: Mapping[str, str] = {
    "pending": "is in delivery's queue",
    "sending": "is being handed to a provider",
    "sent": "was accepted by the provider",
    "failed": "could not be delivered",
    "unknown": "was handed to a provider that did not answer",
    "canceled": "was stopped before any provider had it",
    "expired": "expired before a provider accepted it",
    "": "is known to delivery no more",
}


def refusing_gate(gates: Sequence[Gate]) -> Gate | None:
    """Return the last gate that did not let the message on."""
    return next((gate for gate in reversed(gates) if not gate.passed), None)


def summary_of(row: DecisionRow, ending: Ending | None) -> str:
    """Say in one sentence what came of an event, and because of what."""
    who = f"{row.profile}, {row.campaign}, event {row.event_id}"
    gate = refusing_gate(row.gates)
    match row.state:
        case None:
            return f"{who}: nothing began: {_reason(gate)}"
        case EnrollmentState.EXITED:
            return f"{who}: entered, and was stopped: {_reason(gate)}"
        case EnrollmentState.WAITING:
            # A gate that refused it while it goes on waiting has deferred it.
            until = _text(max(filter(None, (row.due_time, row.wake_time)), default=row.decide_time))
            because = f": {_reason(gate)}" if gate is not None else ""
            return f"{who}: entered, and waits until {until}{because}"
        case EnrollmentState.SENT if ending is not None:
            return f"{who}: the message {_ended(ending)}"
        case _:
            return f"{who}: the message is on its way to delivery"


def reached_cap(uses: Sequence[CapUse], gate: Gate) -> CapUse | None:
    """Return the cap that refused a message: the one the gate names, else one that is full."""
    named = [use for use in uses if use.name in gate.detail]
    full = [use for use in uses if len(use.send_ids) >= use.limit]
    return next(iter((*named, *full)), None)


def silence_of(silence: Silence) -> tuple[str, list[str]]:
    """Return one sentence for why nothing is on record, and all that was found on the way."""
    findings = list(_findings(silence))
    who = f"{silence.profile}, {silence.campaign}"
    return f"{who}: nothing is on record: {findings[0]}", findings


def state_at(moves: Sequence[Move], moment: datetime) -> CampaignState:
    """Return the state of a campaign at a moment after it was created."""
    before = [move for move in moves if move.time <= moment]
    return CampaignState(before[-1].state) if before else CampaignState.DRAFT


def _findings(silence: Silence) -> Iterator[str]:
    """Yield what explains the silence before what does not."""
    if silence.create_time is None:
        yield "there is no such campaign"
        return
    moment = silence.moment
    if moment is not None:
        yield from _of_the_time(silence, moment, silence.create_time)
    yield from _of_the_campaign(silence, moment or silence.now, silence.create_time)
    yield from _of_the_events(silence)


def _of_the_time(silence: Silence, moment: datetime, create_time: datetime) -> Iterator[str]:
    if moment < create_time:
        yield f"the campaign was created later, at {_text(create_time)}"
    if moment < silence.now - silence.retention:
        yield f"decisions are kept for {silence.retention.days} days, which is over"
    if moment > silence.now:
        yield "that time is yet to come"


def _of_the_campaign(silence: Silence, moment: datetime, create_time: datetime) -> Iterator[str]:
    if moment < create_time:
        return
    state = state_at(silence.moves, moment)
    if state is not CampaignState.ACTIVE:
        yield f"the campaign was {_state(silence, state, moment)}"
    if silence.start_time is not None and moment < silence.start_time:
        yield f"the campaign starts at {_text(silence.start_time)}"
    if silence.end_time is not None and moment >= silence.end_time:
        yield f"the campaign ended at {_text(silence.end_time)}"


def _state(silence: Silence, state: CampaignState, moment: datetime) -> str:
    later = [one for one in silence.moves if one.time > moment and one.state == "active"]
    since = [one for one in silence.moves if one.time <= moment]
    words = "a draft" if state is CampaignState.DRAFT else state.value
    if since:
        by = f" by {since[-1].caller}" if since[-1].caller else ""
        words += f" since {_text(since[-1].time)}{by}"
    return f"{words}, and launched at {_text(later[0].time)}" if later else words


def _of_the_events(silence: Silence) -> Iterator[str]:
    type_ = silence.begins_with
    if not type_:
        yield "no event of hers begins the campaign: it goes out by schedule, or is asked for"
        return
    if silence.of_others:
        yield f"the campaign begins with {type_} of somebody else: none that concerns her is known"
        return
    if not silence.heard:
        what = f"{type_} {silence.event_id}" if silence.event_id else type_
        near = " around that time" if silence.moment is not None else ""
        yield f"no {what} was heard of her{near}, and the campaign begins with {type_}"
        return
    heard = silence.heard[-1]
    yield (
        f"{heard.type} {heard.event_id} was heard of her, occurred at {_text(heard.occur_time)}:"
        " it is yet to be judged, was none of the campaign's, or is on record for somebody else"
    )


def _reason(gate: Gate | None) -> str:
    if gate is None:
        return "the record does not say"
    words = _REASONS.get(gate.name, f"the gate {gate.name} refused")
    return f"{words} ({gate.detail})" if gate.detail else words


def _ended(ending: Ending) -> str:
    words = _ENDINGS.get(ending.state, f"is {ending.state} at delivery")
    when = f" at {_text(ending.send_time)}" if ending.send_time is not None else ""
    return f"{words}{when}: {ending.error}" if ending.error else f"{words}{when}"


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
