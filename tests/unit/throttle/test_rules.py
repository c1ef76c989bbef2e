"""Makes sure that caps hold exactly, and that verdicts say what a recount of all history says."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.throttle.model import (
    Allow,
    Calendar,
    Channel,
    Consent,
    Defer,
    FrequencyCap,
    Gate,
    OnBreach,
    Outcome,
    Place,
    Rolling,
    Send,
    Suppress,
    Verdict,
)
from services.throttle.rules import (
    Limits,
    cap_verdict,
    consent_verdict,
    micros,
    place_for,
    reserve,
    settle,
)
from tests.unit.throttle.naive import History
from tests.unit.throttle.strategies import caps, instants_at_edges, steps

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVER = timedelta(days=400)


class Person:
    """One person's places, and sends asked for in turn."""

    def __init__(self, *rules: FrequencyCap, zone: str = "UTC") -> None:
        self.caps = rules
        self.zone = zone
        self.places: dict[bytes, Place] = {}
        self.limits = Limits()

    def ask(
        self,
        number: int,
        now: datetime = NOON,
        *,
        channel: Channel = Channel.EMAIL,
        critical: bool = False,
        expire: timedelta = EVER,
    ) -> Verdict:
        send = Send(
            send_id(number), "acme", "ana", channel, critical, self.zone, micros(now + expire)
        )
        now_us = micros(now)
        limits = self.limits.of(self.caps, channel, self.zone, critical=critical, now_us=now_us)
        found, self.places = reserve(self.places, place_for(send, now_us), limits, now_us)
        return cap_verdict(found)

    def settle(self, number: int, outcome: Outcome) -> None:
        self.places = settle(self.places, [(send_id(number), outcome)])


def send_id(number: int) -> bytes:
    return UUID(int=number).bytes


def a_cap(
    limit: int = 1,
    window: Calendar | Rolling = Calendar.DAY,
    on_breach: OnBreach = OnBreach.SUPPRESS,
    channel: Channel | None = None,
    cap_id: str = "daily",
) -> FrequencyCap:
    return FrequencyCap(
        workspace="acme",
        cap_id=cap_id,
        channel=channel,
        limit=limit,
        window=window,
        on_breach=on_breach,
    )


@pytest.mark.parametrize(
    ("consent", "email", "webhook"),
    [
        (Consent.SUBSCRIBED, True, True),
        (Consent.UNSUBSCRIBED, False, False),
        (Consent.UNDECIDED, False, True),
    ],
)
def test_consent_is_needed_where_a_person_is_reached(
    consent: Consent, email: bool, webhook: bool
) -> None:
    assert (consent_verdict(Channel.EMAIL, consent) is None) is email
    assert (consent_verdict(Channel.WEBHOOK, consent) is None) is webhook


def test_a_verdict_names_the_cap_with_its_limit_and_what_fills_it() -> None:
    ana = Person(a_cap(2, cap_id="two-a-day"), zone="Asia/Kolkata")
    ana.ask(1)
    ana.settle(1, Outcome.COMMITTED)
    ana.ask(2, NOON + HOUR)

    assert ana.ask(3, NOON + 2 * HOUR) == Suppress(
        Gate.FREQUENCY_CAP,
        "workspaces/acme/frequencyCaps/two-a-day takes 2 a day, this one since"
        " 2026-11-17T18:30:00Z; filled by"
        " 00000000-0000-0000-0000-000000000002 reserved 2026-11-18T13:00:00Z,"
        " 00000000-0000-0000-0000-000000000001 sent 2026-11-18T12:00:00Z",
    )


def test_a_deferred_send_waits_for_the_end_of_the_persons_day() -> None:
    ana = Person(a_cap(on_breach=OnBreach.DEFER), zone="Asia/Kolkata")
    ana.ask(1)

    verdict = ana.ask(2)

    assert isinstance(verdict, Defer)
    assert verdict.until == datetime(2026, 11, 18, 18, 30, tzinfo=UTC)


def test_a_deferred_send_waits_until_the_oldest_leaves_a_rolling_window() -> None:
    ana = Person(a_cap(2, Rolling(HOUR), OnBreach.DEFER))
    ana.ask(1, NOON)
    ana.ask(2, NOON + HOUR / 2)

    verdict = ana.ask(3, NOON + HOUR / 2)

    assert isinstance(verdict, Defer)
    assert verdict.until == NOON + HOUR
    assert isinstance(ana.ask(3, verdict.until - timedelta(microseconds=1)), Defer)
    assert ana.ask(3, verdict.until) == Allow()


def test_of_two_deferring_caps_the_one_full_for_longer_speaks() -> None:
    ana = Person(
        a_cap(1, Rolling(HOUR), OnBreach.DEFER, cap_id="hourly"),
        a_cap(1, Calendar.WEEK, OnBreach.DEFER, cap_id="weekly"),
    )
    ana.ask(1)

    verdict = ana.ask(2)

    assert isinstance(verdict, Defer)
    assert verdict.until == datetime(2026, 11, 23, tzinfo=UTC)
    assert "frequencyCaps/weekly takes 1 a week" in verdict.detail


def test_a_suppressing_cap_outranks_a_deferring_one() -> None:
    ana = Person(a_cap(1, Rolling(HOUR), OnBreach.DEFER), a_cap(1, Calendar.DAY))
    ana.ask(1)

    assert isinstance(ana.ask(2), Suppress)


def test_a_critical_send_passes_but_is_counted() -> None:
    ana = Person(a_cap(1))

    assert ana.ask(1) == Allow()
    assert ana.ask(2, critical=True) == Allow()
    ana.settle(1, Outcome.RELEASED)
    assert isinstance(ana.ask(3), Suppress)


def test_a_cap_over_all_leaves_webhooks_alone() -> None:
    ana = Person(a_cap(1))

    assert ana.ask(1, channel=Channel.WEBHOOK) == Allow()
    assert ana.ask(2, channel=Channel.WEBHOOK) == Allow()
    assert ana.ask(3) == Allow()


def test_a_cap_of_a_channel_counts_only_that_channel() -> None:
    ana = Person(a_cap(1, channel=Channel.WEBHOOK))

    assert ana.ask(1) == Allow()
    assert ana.ask(2, channel=Channel.WEBHOOK) == Allow()
    assert isinstance(ana.ask(3, channel=Channel.WEBHOOK), Suppress)
    assert ana.ask(4) == Allow()


def test_a_repeat_gets_the_place_it_holds() -> None:
    ana = Person(a_cap(1))
    ana.ask(1)

    assert ana.ask(1) == Allow()
    ana.settle(1, Outcome.COMMITTED)
    assert ana.ask(1, NOON + HOUR) == Allow()
    assert ana.places[send_id(1)].time_us == micros(NOON)


def test_a_released_send_is_judged_anew() -> None:
    ana = Person(a_cap(1))
    ana.ask(1)
    ana.settle(1, Outcome.RELEASED)
    ana.ask(2)

    assert isinstance(ana.ask(1), Suppress)


def test_a_place_is_free_when_its_lease_ends() -> None:
    ana = Person(a_cap(1))
    ana.ask(1, expire=HOUR)

    assert isinstance(ana.ask(2, NOON + 2 * HOUR - timedelta(microseconds=1)), Suppress)
    assert ana.ask(2, NOON + 2 * HOUR) == Allow()


def test_a_commit_after_the_lease_counts_as_it_was_sent() -> None:
    ana = Person(a_cap(1))
    ana.ask(1, expire=HOUR)
    ana.settle(1, Outcome.COMMITTED)

    assert isinstance(ana.ask(2, NOON + 5 * HOUR), Suppress)


def test_the_first_settlement_holds() -> None:
    ana = Person(a_cap(1))
    ana.ask(1)
    ana.settle(1, Outcome.COMMITTED)
    ana.settle(1, Outcome.RELEASED)

    assert isinstance(ana.ask(2), Suppress)


def test_what_a_faster_clock_wrote_tomorrow_fills_tomorrow() -> None:
    ana = Person(a_cap(1))
    midnight = datetime(2026, 11, 19, tzinfo=UTC)
    ana.ask(1, midnight)

    assert ana.ask(2, midnight - timedelta(milliseconds=1)) == Allow()
    assert isinstance(ana.ask(3, midnight), Suppress)


def test_a_rolling_window_counts_what_a_faster_clock_wrote() -> None:
    ana = Person(a_cap(1, Rolling(HOUR)))
    ana.ask(1, NOON + timedelta(milliseconds=1))

    assert isinstance(ana.ask(2, NOON), Suppress)


@pytest.mark.parametrize("expire_us", [-(2**70), 0, 253_402_300_799_999_999, 2**70])
def test_a_lease_is_sane_whenever_a_send_expires(expire_us: int) -> None:
    send = Send(send_id(1), "acme", "ana", Channel.EMAIL, False, "", expire_us)

    lease = place_for(send, micros(NOON)).lease_us

    assert micros(NOON + HOUR) <= lease <= micros(NOON + timedelta(days=31))


@pytest.mark.parametrize("span", [timedelta(0), timedelta(seconds=59), timedelta(days=31)])
def test_a_window_that_cannot_be_counted_cannot_be_built(span: timedelta) -> None:
    with pytest.raises(ValueError, match="rolling"):
        Rolling(span)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_that_cannot_be_counted_cannot_be_built(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        a_cap(limit)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "again", "commit", "release"]),
        st.sampled_from(Channel),
        steps,
        st.booleans(),
        st.integers(0, 8),
    ),
    max_size=25,
)


@settings(max_examples=400)
@given(st.lists(caps, min_size=1, max_size=4), instants_at_edges(), OPERATIONS)
def test_verdicts_are_those_of_a_recount_of_all_history(
    rules: list[FrequencyCap],
    where: tuple[str, datetime],
    operations: list[tuple[str, Channel, timedelta, bool, int]],
) -> None:
    zone, now = where
    ana, history = Person(*rules, zone=zone), History()
    asked: list[tuple[int, Channel]] = []
    for number, (what, channel, step, urgent, earlier) in enumerate(operations, 1):
        now += step
        if what == "ask" or not asked:
            asked.append((number, channel))
            subject = asked[-1]
        else:
            subject = asked[earlier % len(asked)]
        if what in {"commit", "release"}:
            outcome = Outcome.COMMITTED if what == "commit" else Outcome.RELEASED
            ana.settle(subject[0], outcome)
            history.places = settle(history.places, [(send_id(subject[0]), outcome)])
            continue
        critical = urgent and earlier == 0
        expire = timedelta(minutes=10 * earlier)
        key = send_id(subject[0])
        held = history.places.get(key)
        holds = held is not None and (held.committed or held.lease_us > micros(now))

        verdict = ana.ask(subject[0], now, channel=subject[1], critical=critical, expire=expire)

        expected = "allow" if holds or critical else history.answer(rules, subject[1], zone, now)
        assert type(verdict).__name__.lower() == expected
        if isinstance(verdict, Defer):
            least = timedelta(microseconds=1)
            room = [
                history.has_room(rules, subject[1], zone, now, at)
                for at in (verdict.until, verdict.until - least, now)
            ]
            assert room == [True, False, False]
        if isinstance(verdict, Allow) and not holds:
            history.places[key] = ana.places[key]
