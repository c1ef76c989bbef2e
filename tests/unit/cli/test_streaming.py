"""Makes sure that lines become events, that a file goes on where it stopped, and constant memory."""

import gzip
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from cli.problems import Problem
from cli.streaming.records import (
    LINE_BYTES_MAX,
    Source,
    Unreadable,
    event_of,
    lines,
    opened,
)
from cli.streaming.resume import Progress

PARENT = "workspaces/main"


def test_a_line_becomes_an_event() -> None:
    line = (
        b'{"event_id":"e-1","type":"order_placed","profile":"ana",'
        b'"occur_time":"2026-12-01T10:00:00+01:00","properties":{"value": 1.50}}'
    )

    event = event_of(line, PARENT)

    assert event.profile == "workspaces/main/profiles/ana"
    assert event.occur_time.ToJsonString() == "2026-12-01T09:00:00Z"
    assert event.properties_json == b'{"value": 1.50}'


def test_a_full_name_is_left_as_it_is() -> None:
    line = b'{"event_id":"e-1","type":"x","profile":"workspaces/other/profiles/ana"}'

    assert event_of(line, PARENT).profile == "workspaces/other/profiles/ana"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"type":"x","profile":"ana"}', "event_id"),
        (
            b'{"event_id":"e","type":"x","profile":"ana","propertys":{}}',
            "propertys.*known:.*properties",
        ),
        (b'{"event_id":7,"type":"x","profile":"ana"}', "Expected `str`"),
        (b'{"event_id":"e","type":"x","profile":"ana","occur_time":"noon"}', "occur_time: 'noon'"),
        (b'{"event_id":"\xff","type":"x","profile":"ana"}', "utf-8"),
        (b"x" * LINE_BYTES_MAX, "longer than"),
    ],
)
def test_a_line_that_is_no_event_says_why(line: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        event_of(line, PARENT)


def test_lines_are_numbered_as_editors_do() -> None:
    found = list(lines(Source(BytesIO(b"a\r\n\nb"), lambda: 0)))

    assert [(line.number, line.content) for line in found] == [(1, b"a"), (2, b""), (3, b"b")]


def test_a_line_without_end_is_not_kept_whole() -> None:
    stream = BytesIO(b"x" * (3 * LINE_BYTES_MAX) + b"\nnext\n")

    first, second = lines(Source(stream, lambda: 0))

    assert len(first.content) == LINE_BYTES_MAX
    assert second.content == b"next"


def test_a_zipped_file_is_known_by_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "events"
    file.write_bytes(gzip.compress(b"a\nb\n", mtime=0))

    with opened(str(file)) as source:
        assert [line.content for line in lines(source)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x1f\x8b\x08\x00junk that is no gzip at all", 0),
        (b"\x1f\x8b junk that is no gzip at all", 0),
        (gzip.compress(b"a\nb\n", mtime=0)[:-4], 2),
        (gzip.compress(b"a\nb\n", mtime=0)[:-8] + b"12345678", 2),
    ],
)
def test_a_broken_zip_says_where_it_breaks_off(tmp_path: Path, content: bytes, line: int) -> None:
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(content)

    with (
        pytest.raises(Problem, match=rf"events.jsonl.gz .* beyond line {line}:"),
        opened(str(file)) as source,
    ):
        list(lines(source))


def test_a_million_lines_are_read_one_at_a_time() -> None:
    class Endless(BytesIO):
        handed_out = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            del size
            Endless.handed_out += 1
            return b"{}\n"

    numbered: Iterator[object] = lines(Source(Endless(), lambda: 0))
    next(numbered)
    next(numbered)

    assert Endless.handed_out == 2


def test_progress_is_found_again(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    before = Progress(file, "events.jsonl")
    before.begin(b"first")
    before.reached(7)

    assert Progress(file, "events.jsonl").lines == 7


def test_progress_never_goes_back(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress", "events.jsonl")
    progress.begin(b"first")
    progress.reached(7)
    progress.reached(3)

    assert progress.lines == 7


def test_progress_of_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    before = Progress(file, "events.jsonl")
    before.begin(b"first")
    before.reached(7)

    with pytest.raises(Problem, match="progress of another file"):
        Progress(file, "events.jsonl").begin(b"other")


def test_a_file_that_is_no_progress_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    file.write_text("hello")

    with pytest.raises(Problem, match="is no progress"):
        Progress(file, "events.jsonl")
