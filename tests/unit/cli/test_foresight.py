"""Makes sure that what is foreseen of the scenes is what a person would say, at any hour."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from google.type import dayofweek_pb2
from hypothesis import given
from hypothesis import strategies as st

from cli.demo import foresight, scenes
from cli.demo.expectation import Message, Stop, expect
from cli.demo.foresight import HELD, LIKES, SALE, WELCOME, WIN_BACK, foresee, is_hour
from cli.demo.run import RULES, shorten, slower
from cli.demo.story import Happening, Person
from cli.manifests.decode import decode_files
from cli.manifests.places import Faults
from cli.manifests.read import find_files

EXAMPLES = Path(__file__).parents[3] / "examples"
MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ANA = Person(
    profile="ana",
    email="ana@example.com",
    first_name="Ana",
    consent="subscribed",
    time_zone="Europe/Lisbon",
)


def act(type_: str, who: str = "ana", *, at: datetime = MONDAY_NOON, **data: object) -> Happening:
    return Happening(
        event_id=f"{type_}-{at}", type=type_, profile=who, occur_time=at, properties=data
    )


def like(who: str, second: int, *, type_: str = "photo_liked") -> Happening:
    at = MONDAY_NOON + timedelta(seconds=second)
    return act(type_, who, at=at, photo="p", photo_owner="ana", name=who.capitalize())


def found(*happenings: Happening, now: datetime = MONDAY_NOON) -> set[Message | Stop]:
    foreseen = foresee(happenings, [ANA], RULES, now=now)
    return {*foreseen.messages, *foreseen.stops}


def mail(campaign: str, says: str) -> Message:
    return Message(campaign, "ana@example.com", says)


def test_of_likes_the_latest_is_named_and_the_others_are_counted() -> None:
    said = found(like("ben", 1), like("mia", 2), like("noa", 3))

    assert said == {mail(LIKES, "Noa and 2 others liked your photo: Noa, Mia, Ben")}


def test_a_like_that_is_taken_back_is_not_told() -> None:
    said = found(like("ben", 1), like("mia", 2), like("ben", 3, type_="photo_unliked"))

    assert said == {mail(LIKES, "Mia liked your photo: Mia")}


def test_where_all_likes_are_taken_back_nothing_is_told() -> None:
    said = found(like("ben", 1), like("ben", 2, type_="photo_unliked"))

    assert said == {Stop(LIKES, "ana", "digest")}


def look(at: datetime, price: float = 20.0) -> Happening:
    return act("product_viewed", at=at, price=price)


@pytest.mark.parametrize(
    ("at", "gate"),
    [
        (MONDAY_NOON, ""),
        (datetime(2026, 11, 23, 8, 59, tzinfo=UTC), HELD),
        (datetime(2026, 11, 23, 9, tzinfo=UTC), ""),
        (datetime(2026, 11, 23, 21, tzinfo=UTC), HELD),
        # A Sunday.
        (datetime(2026, 11, 22, 10, 30, tzinfo=UTC), HELD),
        (datetime(2026, 11, 22, 20, tzinfo=UTC), HELD),
        # In summer Lisbon is an hour ahead.
        (datetime(2026, 7, 6, 8, 30, tzinfo=UTC), ""),
    ],
)
def test_a_sale_is_told_by_day_and_held_by_night(at: datetime, gate: str) -> None:
    told = mail(SALE, "20 % off until Epiphany, Ana")

    assert found(look(at), now=at) == {Stop(SALE, "ana", gate) if gate else told}


def test_a_sale_is_not_told_to_who_bought_or_looked_at_trifles_or_too_early() -> None:
    soon = MONDAY_NOON + timedelta(seconds=1)
    bought = act("order_placed", at=soon, order_id="1", value=1.0)

    assert found(look(MONDAY_NOON), bought) == {Stop(SALE, "ana", "exception")}
    assert found(look(MONDAY_NOON, price=19.99)) == {Stop(SALE, "ana", "filter")}
    early = MONDAY_NOON - foresight.SALE_SINCE - timedelta(seconds=1)
    assert found(look(early)) == {Stop(SALE, "ana", "schedule")}


def test_half_hours_and_quarters_count() -> None:
    nine_in_kathmandu = datetime(2026, 11, 23, 3, 15, tzinfo=UTC)

    assert is_hour("Asia/Kathmandu", nine_in_kathmandu)
    assert not is_hour("Asia/Kathmandu", nine_in_kathmandu - timedelta(minutes=1))


def test_who_stays_silent_is_written_to_and_who_comes_back_is_welcomed_instead() -> None:
    silent = act("page_viewed", at=MONDAY_NOON - RULES.silence + RULES.silence_left)
    back = act("page_viewed", at=MONDAY_NOON + RULES.silence_left + timedelta(seconds=1))

    assert found(silent) == {mail(WIN_BACK, "It has been a while, Ana")}
    assert found(silent, back) == {
        Stop(WIN_BACK, "ana", "exception"),
        mail(WELCOME, "Welcome back, Ana"),
    }


def test_who_comes_back_before_the_silence_is_complete_hears_nothing() -> None:
    silent = act("page_viewed", at=MONDAY_NOON - RULES.silence + RULES.silence_left)

    assert found(silent, act("page_viewed")) == set()


def test_who_did_not_subscribe_gets_none_of_it() -> None:
    nobody = Person(profile="ana", email="a@example.com", first_name="Ana", consent="undecided")
    seen = foresee([look(MONDAY_NOON)], [nobody], RULES, now=MONDAY_NOON)

    assert not seen.messages
    assert seen.stops == {Stop(SALE, "ana", "consent")}


@given(now=st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants bounds without a zone.
def test_at_any_hour_some_hear_of_the_sale_and_some_are_held(now: datetime) -> None:
    told = scenes.scenes(RULES, now)
    acts = scenes.play(told, now)
    people = [person for scene in told for person in scene.people]

    seen = foresee(acts, people, RULES, now=now)

    assert any(one.campaign == SALE for one in seen.messages)
    assert any(one.gate == HELD for one in seen.stops)
    # Nobody meets a cap, so that all that is expected of the scenes is certain.
    orders = expect(acts, people, RULES)
    mails = Counter(one.to for one in (*seen.messages, *orders.certain))
    assert max(mails.values()) <= RULES.mails_a_person
    assert not orders.capped


@given(now=st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - as above.
def test_nobodys_hour_turns_while_her_message_may_be_due(now: datetime) -> None:
    for scene in scenes.scenes(RULES, now):
        for person in scene.people:
            if person.time_zone:
                late = now + timedelta(minutes=10)
                assert is_hour(person.time_zone, now) == is_hour(person.time_zone, late)


def test_no_two_acts_are_at_the_same_instant_or_have_the_same_id() -> None:
    acts = scenes.play(scenes.scenes(RULES, MONDAY_NOON), MONDAY_NOON)

    assert len({one.event_id for one in acts}) == len({one.occur_time for one in acts}) == len(acts)
    assert all(one.occur_time < MONDAY_NOON for one in acts)


def test_what_is_foreseen_goes_by_what_the_campaigns_say() -> None:
    faults = Faults()
    documents = decode_files(
        find_files([EXAMPLES / "campaigns"]), workspace="main", variables={}, faults=faults
    )
    list(shorten(documents, RULES, MONDAY_NOON))
    campaigns = {one.id: one.message for one in documents if isinstance(one.message, Campaign)}

    sale = campaigns[SALE]
    assert sale.trigger.filter == f"event.properties.price >= {RULES.sale_above}"
    assert sale.delay.ToTimedelta() == RULES.sale_delay
    assert sale.wait.spread.ToTimedelta() == RULES.sale_spread
    assert [one.event_type for one in sale.exceptions] == ["order_placed"]
    assert not sale.HasField("reentry_interval")
    hours = {day: (one.start, one.end) for one in sale.send_window.ranges for day in one.weekdays}
    assert hours == {
        dayofweek_pb2.DayOfWeek.Value(day): (f"{start:02}:00", f"{end:02}:00")
        for day, (start, end) in zip(
            ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"),
            foresight.HOURS,
            strict=True,
        )
    }
    assert sale.start_time.ToDatetime(UTC) == MONDAY_NOON - foresight.SALE_SINCE
    win_back = campaigns[WIN_BACK]
    assert win_back.trigger.inactivity.duration.ToTimedelta() == RULES.silence
    assert win_back.delay.ToTimedelta() == RULES.win_back_delay
    assert campaigns[WELCOME].trigger.inactivity.returned
    assert campaigns[foresight.WEEK].digest.fixed.ToTimedelta() == RULES.week
    assert 'kind == "comment"' in campaigns[foresight.WEEK].digest.urgent_filter
    likes = campaigns[LIKES].digest
    assert likes.sliding.pause.ToTimedelta() == RULES.likes_pause
    assert likes.items_max >= len(scenes.scenes(RULES, MONDAY_NOON)[-1].acts)


def test_longer_delays_are_longer_in_every_scene() -> None:
    longer = slower(RULES, RULES.confirmation_delay * 3)

    assert foresight.first_due(MONDAY_NOON, longer) - MONDAY_NOON == 3 * (
        foresight.first_due(MONDAY_NOON, RULES) - MONDAY_NOON
    )
    assert longer.silence == RULES.silence
