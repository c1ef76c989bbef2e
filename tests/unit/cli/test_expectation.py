"""Makes sure that the demonstration expects what its campaigns say, on cases counted by hand."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from cli.demo.account import Account, settle
from cli.demo.expectation import BIG, CART, CONFIRMATION, FULL, Expected, Message, Stop, expect
from cli.demo.run import RULES, shorten
from cli.demo.story import Happening, Person, read, tell
from cli.manifests.decode import decode_files
from cli.manifests.places import Faults
from cli.manifests.read import find_files

EXAMPLES = Path(__file__).parents[3] / "examples"
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
ANA = Person(profile="c-1", email="ana@example.com", first_name="Ana", consent="subscribed")

_numbers = count(1)


def item(value: float, order: str = "1", *, profile: str = "c-1") -> Happening:
    return _happening("item_added_to_cart", profile, {"order_id": order, "cart_value": value})


def placed(order: str, value: float = 10.0, *, profile: str = "c-1") -> Happening:
    return _happening("order_placed", profile, {"order_id": order, "value": value})


def cancelled(order: str = "C9", *, profile: str = "c-1") -> Happening:
    return _happening("order_cancelled", profile, {"order_id": order, "value": -1.0})


def _happening(type_: str, profile: str, properties: dict[str, object]) -> Happening:
    number = next(_numbers)
    return Happening(
        event_id=f"e-{number}",
        type=type_,
        profile=profile,
        occur_time=NOON + timedelta(milliseconds=number),
        properties=properties,
    )


def messages(*happenings: Happening, person: Person = ANA) -> set[Message]:
    return set(expect(happenings, [person], RULES).certain)


def confirmation(order: str) -> Message:
    return Message(CONFIRMATION, "ana@example.com", order)


def cart(says: str) -> Message:
    return Message(CART, "ana@example.com", says)


def test_an_order_is_confirmed() -> None:
    assert messages(placed("1")) == {confirmation("1")}


def test_a_cancellation_stops_the_orders_before_it_and_none_after() -> None:
    assert messages(placed("1"), cancelled(), placed("2")) == {confirmation("2")}


def test_a_cart_is_remembered_by_its_last_item() -> None:
    assert messages(item(250.5), item(150.5)) == {cart("1 150.50")}


def test_a_fuller_cart_has_other_words() -> None:
    assert messages(item(150), item(200.01)) == {cart(f"1 200.01{FULL}")}
    assert messages(item(200.0)) == {cart("1 200.00")}


def test_a_cart_of_exactly_the_threshold_is_not_worth_a_mail() -> None:
    assert messages(item(100.0)) == set()


def test_an_item_that_takes_the_cart_below_the_threshold_ends_the_wait() -> None:
    assert messages(item(150), item(90)) == set()


def test_an_order_ends_the_wait_of_every_cart() -> None:
    assert messages(item(150), placed("2")) == {confirmation("2")}


def test_a_cart_filled_after_an_order_waits_anew() -> None:
    assert messages(item(150), placed("1"), item(120, "2")) == {confirmation("1"), cart("2 120.00")}


def test_a_big_order_is_told_whatever_its_customer_agreed_to() -> None:
    nobody = Person(profile="c-1", email="x@example.com", first_name="", consent="unsubscribed")

    found = expect([placed("1", 1000.5)], [nobody], RULES)

    assert found.certain == {Message(BIG, "c-1", "1")}
    assert found.refused == {"consent": 1}


def test_a_stranger_gets_no_mail() -> None:
    found = expect([placed("1", profile="anonymous-1")], [ANA], RULES)

    assert found.count == 0


def test_beyond_the_cap_any_of_the_messages_may_arrive() -> None:
    found = expect([placed("1"), placed("2"), placed("3")], [ANA], RULES)

    assert found.certain == frozenset()
    assert found.capped == {
        "ana@example.com": {confirmation("1"), confirmation("2"), confirmation("3")}
    }
    assert (found.count, found.refused) == (2, {"frequency_cap": 1})


def account(arrived: list[Message], *, capped: bool = False) -> Account:
    three = frozenset({confirmation("1"), confirmation("2"), confirmation("3")})
    expected = Expected(
        certain=frozenset() if capped else three,
        capped={"ana@example.com": three} if capped else {},
        cap=2,
        refused={},
    )
    return settle(arrived, expected)


def test_what_arrives_once_is_good() -> None:
    found = account([confirmation("3"), confirmation("1"), confirmation("2")])

    assert found.good
    assert (found.messages, found.expected) == (3, 3)


def test_what_does_not_arrive_is_lost() -> None:
    found = account([confirmation("1"), confirmation("3")])

    assert (found.good, found.lost) == (False, (confirmation("2"),))


def test_what_arrives_twice_is_a_duplicate_and_no_second_message() -> None:
    found = account([confirmation(one) for one in "1232"])

    assert (found.good, found.messages, found.duplicate) == (False, 3, 1)


def test_what_nobody_expected_is_told() -> None:
    found = account([confirmation(one) for one in "1234"])

    assert (found.good, found.unexpected) == (False, (confirmation("4"),))


def test_what_was_stopped_and_should_not_have_been_is_told() -> None:
    expected = Expected(
        certain=frozenset({confirmation("1")}),
        capped={},
        cap=2,
        refused={},
        stops=frozenset({Stop("likes", "ana", "digest")}),
    )
    consent = Stop("likes", "ana", "consent")

    found = settle([confirmation("1")], expected, {consent})

    assert (found.good, found.lost) == (False, ())
    assert found.astray == (consent, Stop("likes", "ana", "digest"))


@pytest.mark.parametrize("pair", ["12", "13", "23"])
def test_of_capped_messages_any_will_do(pair: str) -> None:
    assert account([confirmation(one) for one in pair], capped=True).good


def test_of_capped_messages_one_too_few_is_lost() -> None:
    assert len(account([confirmation("2")], capped=True).lost) == 1


def test_of_capped_messages_one_too_many_is_unexpected() -> None:
    found = account([confirmation(one) for one in "123"], capped=True)

    assert (found.good, len(found.unexpected), found.lost) == (False, 1, ())


def test_the_expectation_goes_by_what_the_campaigns_say() -> None:
    faults = Faults()
    documents = decode_files(
        find_files([EXAMPLES / "campaigns"]), workspace="main", variables={}, faults=faults
    )
    notes = list(shorten(documents, RULES, NOON))
    found = {one.id: one.message for one in documents if isinstance(one.message, Campaign)}
    caps = {one.id: one.message for one in documents if one.kind.name == "FrequencyCap"}

    assert len(notes) == 8
    assert [one.filter for one in found[CART].variants] == [
        f"event.properties.cart_value > {RULES.full_above}"
    ]
    assert found[CART].trigger.filter == f"event.properties.cart_value > {RULES.cart_above}"
    assert found[CART].delay.ToTimedelta() == RULES.cart_delay
    assert [one.event_type for one in found[CART].exceptions] == [
        "item_added_to_cart",
        "order_placed",
    ]
    assert found[CONFIRMATION].delay.ToTimedelta() == RULES.confirmation_delay
    assert [one.event_type for one in found[CONFIRMATION].exceptions] == ["order_cancelled"]
    assert found[BIG].trigger.filter == f"event.properties.value > {RULES.big_above}"
    assert all(
        one.HasField("reentry_interval") and not one.reentry_interval.seconds
        for one in (found[CART], found[CONFIRMATION], found[BIG])
    )
    assert caps["daily-email"].limit == RULES.mails_a_person  # type: ignore[attr-defined]


def test_the_story_keeps_the_order_of_the_data_and_gives_each_event_its_instant() -> None:
    raw = read(EXAMPLES / "events" / "december-2010.jsonl.gz")

    story = tell(raw, until=NOON, within=timedelta(seconds=5))

    times = [one.occur_time for one in story.happenings]
    assert len(times) >= 10_000
    assert times == sorted(set(times))
    assert NOON - timedelta(seconds=5) <= times[0] < times[-1] < NOON
    kept = {one.event_id for one in story.happenings}
    assert [one["event_id"] for one in raw if one["event_id"] in kept] == [
        one.event_id for one in story.happenings
    ]
    assert len(raw) == len(kept) + story.withheld
    assert {one.consent for one in story.people} == {"subscribed", "unsubscribed", "undecided"}
    assert {bool(one.first_name) for one in story.people} == {True, False}
