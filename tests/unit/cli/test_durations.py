"""Makes sure that spans and instants are read as people write them, and nothing else is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.durations import format_duration, parse_duration, parse_time, short


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("14d", timedelta(days=14)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5s", timedelta(seconds=1.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_spans_are_read(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "-5m", "1y", "30min", "1h 30m", "PT30M"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="30m, 2h, 14d"):
        parse_duration(text)


def test_a_span_beyond_all_time_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration("999999999999d")


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=800)))
def test_a_span_survives_being_written(span: timedelta) -> None:
    assert parse_duration(format_duration(span)) == span


def test_an_instant_is_read_in_any_zone() -> None:
    assert parse_time("2026-12-01T10:00:00+01:00") == datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-12-01T09:00:00", "tomorrow", "2026-13-01T00:00:00Z"])
def test_what_is_no_instant_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="2026-12-01T09:00:00Z"):
        parse_time(text)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(microseconds=12), "12 µs"),
        (timedelta(microseconds=1240), "1.24 ms"),
        (timedelta(seconds=20), "20 s"),
        (timedelta(minutes=30), "30 m"),
        (timedelta(minutes=59, seconds=50), "1 h 00 m"),
        (timedelta(hours=26, minutes=5), "26 h 05 m"),
    ],
)
def test_lengths_are_short_to_read(span: timedelta, text: str) -> None:
    assert short(span) == text
