"""Makes sure that a put changes what it says, and only that."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.profile.model.relations import Edge, EdgeRow, Put
from services.profile.rules.relations import change, refusals

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EDGE = Edge("ana", "follows", "ben")
NAMES = {"ana": "ana", "anon": "ana", "ben": "ben"}


def a_row(
    from_id: str = "ana", to_id: str = "ben", attributes: str = '{"n": 1}', ago: int = 0
) -> EdgeRow:
    return EdgeRow(from_id, to_id, attributes, NOW - timedelta(seconds=ago))


def test_an_edge_that_is_not_there_is_new() -> None:
    write = change(Put(EDGE, "{}"), [], NOW)

    assert write is not None
    assert (write.is_new, write.is_other, write.update_time) == (True, False, NOW)


def test_the_same_said_again_is_nothing_however_it_is_spelled() -> None:
    assert change(Put(EDGE, '{"n":1.0}'), [a_row()], NOW) is None


def test_the_same_said_under_another_id_is_written_down_and_counts_for_nothing() -> None:
    write = change(Put(EDGE._replace(from_id="anon"), '{"n": 1}'), [a_row(ago=5)], NOW)

    assert write is not None
    assert (write.is_new, write.is_other) == (False, False)
    assert write.update_time == NOW - timedelta(seconds=5)


def test_what_is_written_last_says_what_is_known() -> None:
    rows = [a_row(attributes='{"n": 2}', ago=9), a_row("anon", ago=3)]

    assert change(Put(EDGE, '{"n": 1}'), rows, NOW) is None
    write = change(Put(EDGE, '{"n": 2}'), rows, NOW)
    assert write is not None
    assert write.is_other


@given(st.integers(-5, 5))
def test_a_put_wins_over_what_it_replaces_whatever_the_clocks_say(ago: int) -> None:
    row = a_row("anon", ago=ago)

    write = change(Put(EDGE, "{}"), [row], NOW)

    assert write is not None
    assert write.update_time > row.update_time
    assert write.update_time >= NOW


def test_an_edge_leads_to_somebody_else() -> None:
    refused = refusals([EDGE, Edge("ana", "follows", "anon"), Edge("ana", "follows", "ana")], NAMES)

    assert sorted(refused) == [1, 2]


def test_of_an_edge_that_is_there_twice_the_first_counts() -> None:
    twice = [EDGE, EDGE._replace(kind="likes"), EDGE._replace(from_id="anon"), EDGE]

    assert sorted(refusals(twice, NAMES)) == [2, 3]
