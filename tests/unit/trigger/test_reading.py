"""Makes sure that a backlog of large records is read in pieces that fit in memory."""

from hypothesis import given
from hypothesis import strategies as st

from services.trigger.worker.lanes import next_read

MEGABYTE = 1 << 20


def test_reads_grow_while_records_are_small() -> None:
    asked = 1
    for _ in range(10):
        asked = next_read(asked, records=asked, size=asked * 1000, most=256)

    assert asked == 256


def test_reads_shrink_while_records_are_large() -> None:
    asked = 256
    for _ in range(10):
        asked = next_read(asked, records=asked, size=asked * 4 * MEGABYTE, most=256)

    assert asked <= 4


def test_a_quiet_log_changes_nothing() -> None:
    assert next_read(64, records=3, size=1000, most=256) == 64


@given(st.integers(1, 256), st.integers(0, 256), st.integers(0, 1 << 30))
def test_there_is_always_something_to_ask_for(now: int, records: int, size: int) -> None:
    assert 1 <= next_read(now, records=records, size=size, most=256) <= 256
