"""Makes sure that an import does every row once: stopped anywhere, repeated, gone on with days later."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.problems import Problem
from cli.tables.checkpoint import Checkpoint, open_checkpoint
from cli.tables.engine import Importer, Outcome
from cli.tables.mapping import Unfit
from cli.tables.refusals import refusals_in
from cli.tables.rows import Row

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


@dataclass
class Still:
    """A clock that stands until it is moved."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


class Killed(BaseException):
    """The process ended here."""


@dataclass
class Service:
    """Remembers requests by id as the real one does, and adds up what rows bring."""

    points: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    calls: int = 0
    kill_after: int | None = None
    lose_reply: bool = False

    async def patch(self, request_id: str, items: list[str]) -> Outcome:
        self.calls += 1
        lost = self.kill_after is not None and self.calls > self.kill_after
        if lost and not self.lose_reply:
            raise Killed
        if request_id not in self.answered:
            self.answered.add(request_id)
            self.points.update(items)
        # Others go on meanwhile, so that batches end in any order.
        await asyncio.sleep(0)
        if lost:
            raise Killed
        return Outcome(0, len(items), 0, {})


def rows(count: int) -> Iterator[Row]:
    for number in range(1, count + 1):
        yield Row(number, {"id": f"p{number}"}, number)


def a_file(folder: Path, content: str = "id\nana\n") -> Path:
    file = folder / "people.csv"
    file.write_text(content)
    return file


def checkpoint_in(
    folder: Path, clock: Still | None = None, *, anew: bool = False, operation: str = "set"
) -> Checkpoint:
    return open_checkpoint(
        folder / "progress",
        folder / "people.csv",
        {"operation": operation},
        anew=anew,
        clock=clock or Still(),
    )


async def once(
    service: Service, folder: Path, errors: Path, *, count: int, size: int, parallel: int
) -> Checkpoint:
    """Import, until it is done or killed."""
    checkpoint = checkpoint_in(folder)

    async def send(number: int, items: list[str]) -> Outcome:
        return await service.patch(checkpoint.request_id(number), items)

    def item_of(row: Row) -> str:
        if row.number % 7 == 0:
            raise Unfit("id", "seven brings no luck")
        return str(row.values["id"])

    with refusals_in(errors, checkpoint.state.errors_bytes) as refusals:
        importer = Importer(item_of, send, checkpoint, refusals, no_bar)
        await importer.run(rows(count), size=size, parallel=parallel)
    checkpoint.complete()
    return checkpoint


def no_bar(more: int, offset: int) -> None:
    """Nobody watches."""


def number_of(row: Row) -> int:
    return row.number


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    size=st.integers(1, 9),
    parallel=st.integers(1, 4),
    kills=st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=3),
)
def test_an_import_killed_anywhere_and_repeated_does_every_row_once(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    size: int,
    parallel: int,
    kills: list[tuple[int, bool]],
) -> None:
    folder = tmp_path_factory.mktemp("import")
    a_file(folder)
    service = Service()
    errors = folder / "errors.jsonl"

    for after, lose_reply in kills:
        service.kill_after, service.lose_reply, service.calls = after, lose_reply, 0
        with suppress(Killed, BaseExceptionGroup):
            asyncio.run(once(service, folder, errors, count=count, size=size, parallel=parallel))
    service.kill_after = None
    checkpoint = asyncio.run(
        once(service, folder, errors, count=count, size=size, parallel=parallel)
    )

    good = [number for number in range(1, count + 1) if number % 7]
    assert service.points == Counter(f"p{number}" for number in good)
    assert (checkpoint.state.counts.rows, checkpoint.state.counts.updated) == (count, len(good))
    refused = [json.loads(line)["row"] for line in errors.read_text().splitlines()]
    assert sorted(refused) == [number for number in range(1, count + 1) if number % 7 == 0]


async def test_a_passing_fault_is_tried_again_under_the_same_id(tmp_path: Path) -> None:
    a_file(tmp_path)
    checkpoint = checkpoint_in(tmp_path)
    asked: list[str] = []

    async def send(number: int, items: list[int]) -> Outcome:
        asked.append(checkpoint.request_id(number))
        if len(asked) == 1:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()
            )
        return Outcome(0, len(items), 0, {})

    with refusals_in(None, 0) as refusals:
        importer = Importer(number_of, send, checkpoint, refusals, no_bar)
        await importer.run(rows(3), size=3, parallel=1)

    assert len(asked) == 2
    assert len(set(asked)) == 1


async def test_a_refusal_of_the_service_names_the_row_it_is_about(tmp_path: Path) -> None:
    a_file(tmp_path)
    checkpoint = checkpoint_in(tmp_path)
    errors = tmp_path / "errors.jsonl"

    async def send(_number: int, items: list[int]) -> Outcome:
        return Outcome(0, len(items) - 1, 0, {1: Status(code=9, message="no such type")})

    def item_of(row: Row) -> int:
        if row.number == 1:
            raise Unfit("id", "is empty")
        return row.number

    with refusals_in(errors, 0) as refusals:
        importer = Importer(item_of, send, checkpoint, refusals, no_bar)
        await importer.run(rows(4), size=4, parallel=1)

    lines = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [(one["row"], one["message"]) for one in lines] == [(1, "is empty"), (3, "no such type")]
    assert "row 3" in [detail.where for detail in refusals.problem(2, "").details]


def test_another_file_or_meaning_is_another_import(tmp_path: Path) -> None:
    a_file(tmp_path)
    first = checkpoint_in(tmp_path)
    first.begin(1)

    with pytest.raises(Problem, match="another import"):
        checkpoint_in(tmp_path, operation="increment")
    a_file(tmp_path, "id\nben\n")
    with pytest.raises(Problem, match="another import"):
        checkpoint_in(tmp_path)


def test_the_same_file_is_the_same_import_also_where_its_progress_is_lost(tmp_path: Path) -> None:
    a_file(tmp_path)
    first = checkpoint_in(tmp_path)
    first.finish(1, first.state.counts, 0)
    (tmp_path / "progress").unlink()

    again, anew = checkpoint_in(tmp_path), checkpoint_in(tmp_path, anew=True)

    assert again.request_id(1) == first.request_id(1) != first.request_id(2)
    assert anew.request_id(1) != first.request_id(1)


def test_after_a_day_what_was_on_its_way_is_unsure(tmp_path: Path) -> None:
    a_file(tmp_path)
    clock = Still()
    first = checkpoint_in(tmp_path, clock)
    for batch in (1, 2, 3):
        first.begin(batch)
    first.finish(2, first.state.counts, 0)

    clock.moment = NOW + timedelta(hours=2)
    assert checkpoint_in(tmp_path, clock).unsure() == []
    clock.moment = NOW + timedelta(days=2)
    later = checkpoint_in(tmp_path, clock)
    assert later.unsure() == [1, 3]
    later.skip([1, 3])
    assert later.is_done(3)
    assert not later.is_done(4)


def test_a_place_where_nothing_can_be_kept_is_a_problem(tmp_path: Path) -> None:
    a_file(tmp_path)
    (tmp_path / "progress.unfinished").mkdir()

    with pytest.raises(Problem, match="cannot remember"):
        checkpoint_in(tmp_path).begin(1)


def test_what_is_no_progress_is_a_problem(tmp_path: Path) -> None:
    a_file(tmp_path)
    (tmp_path / "progress").write_text("hello")

    with pytest.raises(Problem, match="no progress of an import"):
        checkpoint_in(tmp_path)
