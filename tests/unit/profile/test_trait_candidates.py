"""Makes sure that whatever properties an event has, a trait can look at them."""

import pytest

from services.profile.convert.candidates import Candidate
from services.profile.model.traits import Aggregate, Trait
from tests.unit.profile.builders import an_event


def a_trait(filter_: str = "") -> Trait:
    return Trait(
        workspace="acme",
        trait_id="spent",
        event_type="order_placed",
        aggregate=Aggregate.SUM,
        property="value",
        filter=filter_,
    )


def test_a_filter_sees_all_of_the_event() -> None:
    candidate = Candidate(an_event("e1", occur_us=1_000_000, properties='{"value": 3}'))

    for filter_ in (
        "event.id == 'e1'",
        "event.type == 'order_placed'",
        "event.occur_time == timestamp('1970-01-01T00:00:01Z')",
        "event.properties.value == 3",
        "",
    ):
        assert candidate.matches(a_trait(filter_))
    assert candidate.properties_for(a_trait()) == {"value": 3}


@pytest.mark.parametrize("filter_", ["event.properties.missing == 1", "event.properties.value"])
def test_a_filter_that_fails_lets_nothing_through(filter_: str) -> None:
    assert not Candidate(an_event(properties='{"value": 3}')).matches(a_trait(filter_))


@pytest.mark.parametrize(
    "properties",
    [
        '{"value": ' + "1" * 5000 + "}",
        '{"value": ' + "[" * 5000 + "]" * 5000 + "}",
        "[]",
        "nothing",
    ],
)
def test_what_cannot_be_read_is_nothing(properties: str) -> None:
    assert Candidate(an_event(properties=properties)).properties_for(a_trait()) == {}


def test_a_number_beyond_all_numbers_can_be_read() -> None:
    candidate = Candidate(an_event(properties='{"value": 1e999}'))

    assert candidate.properties_for(a_trait()) == {"value": float("inf")}
