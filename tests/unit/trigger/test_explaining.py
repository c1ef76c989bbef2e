"""Makes sure that every silence and every refusal has its sentence."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.trigger.model import (
    CapUse,
    DecisionRow,
    Ending,
    EnrollmentState,
    Gate,
    Heard,
    Move,
    Silence,
)
from services.trigger.rules.explaining import reached_cap, silence_of, summary_of
from tests.unit.trigger.builders import NOW

DAY = timedelta(days=1)


def a_row(
    state: EnrollmentState | None, *gates: tuple[str, bool, str], **given: Any
) -> DecisionRow:
    values: dict[str, Any] = {
        "profile": "ana",
        "member": "",
        "campaign": "cart",
        "event_uid": UUID(int=1),
        "event_id": "e",
        "state": None if state is None else int(state),
        "gates": tuple(Gate(*gate, NOW) for gate in gates),
        "decide_time": NOW,
        "due_time": None if state is None else NOW,
        "wake_time": None,
        "campaign_version": 1,
        "channel": 1,
        "trace_id": b"",
    }
    return DecisionRow(**{**values, **given})


def a_silence(**given: Any) -> Silence:
    values: dict[str, Any] = {
        "campaign": "cart",
        "profile": "ana",
        "now": NOW,
        "retention": 90 * DAY,
        "create_time": NOW - 10 * DAY,
        "moves": (Move(NOW - 9 * DAY, "active", "ops"),),
        "begins_with": "cart_filled",
    }
    return Silence(**{**values, **given})


@pytest.mark.parametrize(
    ("row", "ending", "expected"),
    [
        (a_row(None, ("filter", False, "value 90")), None, "nothing began: the filter did not hold (value 90)"),
        (a_row(EnrollmentState.EXITED, ("filter", True, "true"), ("exception", False, "order_placed o")), None, "entered, and was stopped: an exception stopped it (order_placed o)"),
        (a_row(EnrollmentState.EXITED, ("dwell", False, "")), None, "was stopped: she did not stay long enough"),
        (a_row(EnrollmentState.EXITED, ("ignored", False, "")), None, "was stopped: she did not ignore the earlier message"),
        (a_row(EnrollmentState.WAITING), None, "entered, and waits until 2026-03-01T12:00:00Z"),
        (a_row(EnrollmentState.WAITING, ("frequency_cap", False, "full")), None, "waits until 2026-03-01T12:00:00Z: a frequency cap was reached (full)"),
        (a_row(EnrollmentState.SENDING), None, "on its way to delivery"),
        (a_row(EnrollmentState.SENT), Ending("sent", "", NOW), "the message was accepted by the provider at 2026-03-01T12:00:00Z"),
        (a_row(EnrollmentState.SENT), Ending("failed", "provider_refused: 550"), "the message could not be delivered: provider_refused: 550"),
        (a_row(EnrollmentState.SENT), Ending(""), "is known to delivery no more"),
    ],
)  # fmt: skip
def test_what_came_of_an_event_is_one_sentence(
    row: DecisionRow, ending: Ending | None, expected: str
) -> None:
    assert expected in summary_of(row, ending)


@pytest.mark.parametrize(
    ("silence", "expected"),
    [
        (a_silence(create_time=None), "there is no such campaign"),
        (a_silence(moment=NOW - 11 * DAY), "the campaign was created later, at 2026-02-19T12:00:00Z"),
        (a_silence(moment=NOW - 91 * DAY, create_time=NOW - 100 * DAY), "decisions are kept for 90 days, which is over"),
        (a_silence(moment=NOW + DAY), "that time is yet to come"),
        (a_silence(moves=()), "the campaign was a draft"),
        (a_silence(moment=NOW - 9.5 * DAY), "the campaign was a draft, and launched at 2026-02-20T12:00:00Z"),
        (a_silence(moves=(Move(NOW - 9 * DAY, "active", ""), Move(NOW - DAY, "paused", "ops"))), "the campaign was paused since 2026-02-28T12:00:00Z by ops"),
        (a_silence(end_time=NOW - DAY), "the campaign ended at 2026-02-28T12:00:00Z"),
        (a_silence(start_time=NOW + DAY), "the campaign starts at 2026-03-02T12:00:00Z"),
        (a_silence(), "no cart_filled was heard of her, and the campaign begins with cart_filled"),
        (a_silence(event_id="e"), "no cart_filled e was heard of her"),
        (a_silence(moment=NOW), "no cart_filled was heard of her around that time"),
        (a_silence(begins_with=""), "it goes out by schedule, or is asked for"),
        (a_silence(of_others=True), "the campaign begins with cart_filled of somebody else"),
        (a_silence(heard=(Heard("e", "cart_filled", NOW),)), "cart_filled e was heard of her, occurred at 2026-03-01T12:00:00Z"),
    ],
)  # fmt: skip
def test_where_nothing_is_on_record_what_explains_it_comes_first(
    silence: Silence, expected: str
) -> None:
    summary, findings = silence_of(silence)

    assert expected in findings[0]
    assert summary == f"ana, cart: nothing is on record: {findings[0]}"


@pytest.mark.parametrize(
    ("detail", "expected"), [("caps/b takes 2 a day", "caps/b"), ("somebody renamed it", "caps/c")]
)
def test_the_cap_is_the_one_that_the_gate_names_else_a_full_one(detail: str, expected: str) -> None:
    uses = [
        CapUse(f"caps/{name}", limit, (b"1",)) for name, limit in (("a", 2), ("b", 2), ("c", 1))
    ]
    moment: datetime = NOW

    found = reached_cap(uses, Gate("frequency_cap", False, detail, moment))

    assert found is not None
    assert found.name == expected
