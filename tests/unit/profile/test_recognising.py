"""Makes sure that an event id counts once in its window, however it comes again (G3)."""

from collections import defaultdict
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.profile.model import DAY_US, Earlier, Event
from services.profile.rules import sort_out
from tests.unit.profile.builders import NOW_US, an_event

WINDOW_US = 7 * DAY_US


def remembered(*events: Event) -> dict[UUID, list[Earlier]]:
    found: defaultdict[UUID, list[Earlier]] = defaultdict(list)
    for one in events:
        found[one.event_uid].append(
            Earlier(one.receive_us, one.fingerprint, one.log_partition, one.log_position)
        )
    return found


def verdict(event: Event, *before: Event) -> str:
    sorting = sort_out([event], remembered(*before), window_us=WINDOW_US)
    return next(name for name in sorting._fields if getattr(sorting, name))


def test_an_unknown_id_is_fresh() -> None:
    assert verdict(an_event("e2"), an_event("e1")) == "fresh"


def test_the_same_place_again_is_a_retry() -> None:
    assert verdict(an_event(), an_event()) == "retried"


def test_the_same_content_at_another_place_is_a_duplicate() -> None:
    assert verdict(an_event(position="2"), an_event(position="1")) == "duplicates"
    assert verdict(an_event(partition=2), an_event(partition=1)) == "duplicates"


def test_other_content_is_a_misuse_of_the_id_wherever_it_stands() -> None:
    assert verdict(an_event(position="2", content=2), an_event()) == "reused"
    assert verdict(an_event(content=2), an_event()) == "reused"


def test_the_window_ends_to_the_microsecond() -> None:
    edge = an_event(receive_us=NOW_US + WINDOW_US, position="2")
    after = an_event(receive_us=NOW_US + WINDOW_US + 1, position="2")

    assert verdict(edge, an_event()) == "duplicates"
    assert verdict(after, an_event()) == "fresh"


def test_an_id_that_returned_after_its_window_opens_a_new_one() -> None:
    again = an_event(receive_us=NOW_US + WINDOW_US + 1, position="2", content=2)
    third = an_event(receive_us=NOW_US + WINDOW_US + 5, position="3", content=2)

    assert verdict(third, an_event(), again) == "duplicates"


def test_a_retry_is_one_whatever_else_bears_the_id() -> None:
    again = an_event(receive_us=NOW_US + WINDOW_US + 1, position="2", content=2)

    assert verdict(again, an_event(), again) == "retried"


def test_within_one_call_the_first_counts() -> None:
    events = [an_event(), an_event(index=1), an_event(index=2, content=2), an_event("e2", index=3)]

    sorting = sort_out(events, {}, window_us=WINDOW_US)

    assert sorting.fresh == [events[0], events[3]]
    assert sorting.duplicates == [events[1]]
    assert sorting.reused == [events[2]]


places = st.builds(
    lambda number, content, at: an_event(f"e{number}", content=content, position=f"{at:04}"),
    st.integers(0, 3),
    st.integers(1, 2),
    st.integers(0, 9),
)


@given(st.lists(places, unique_by=lambda one: (one.event_id, one.log_position)), st.data())
def test_each_id_counts_once_in_any_order_of_repeats_and_cuts(
    events: list[Event], data: st.DataObject
) -> None:
    """Against a naive reference: the first with an id counts, with whatever it says."""
    history: list[Event] = []
    rest = events
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        # What was observed a while ago may be sent again in front of what is new.
        again = (
            data.draw(st.lists(st.sampled_from(events[: len(events) - len(rest)])))
            if history
            else []
        )
        turn = [*dict.fromkeys(again), *rest[:cut]]
        history += sort_out(turn, remembered(*history), window_us=WINDOW_US).fresh
        rest = rest[cut:]

    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(event.event_id, event)
    assert history == list(first.values())
