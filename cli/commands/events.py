"""`beckon events`: sending what people did."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from cli.output import write_json
from cli.problems import Problem
from cli.progress import bar
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.ingest.v1.ingest_service_pb2 import StreamEventsResponse
    from google.rpc.status_pb2 import Status

    from cli.streaming.records import Line, Source
    from cli.streaming.resume import Progress
    from cli.streaming.stream import Batch, Totals

app = typer.Typer(no_args_is_help=True, help="Events: what people did.")

BATCH_MAX = 1000
# Refusals listed on the terminal; --errors takes them all.
_SHOWN = 10


@command(
    app,
    "send",
    examples="""
    beckon events send -f events.jsonl
    beckon events send -f events.jsonl.gz --resume events.progress --errors refused.jsonl
    zcat *.gz | beckon events send -f - -o json
    """,
)
async def send(
    session: Session,
    *,
    file: Annotated[
        str, typer.Option("--file", "-f", help="JSON Lines, gzipped or not; - is the input.")
    ],
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=BATCH_MAX, help="Events a message of the stream.")
    ] = 500,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Remember in this file how far it is; go on from there."),
    ] = None,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="Write refused lines here, with the reason.")
    ] = None,
) -> None:
    r"""Stream events from a file or a pipe.

    Each line is an event: {"event_id": "e-1", "type": "order_placed", "profile": "ana",
    "occur_time": "2026-12-01T09:00:00Z", "properties": {"value": 120.5}}. Ids make it safe to send
    a file again: what is known has no effect.
    """
    from beckon.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub

    from cli.streaming.records import opened
    from cli.streaming.resume import Progress
    from cli.streaming.stream import Sender

    stub = IngestServiceStub(await session.channel("ingest"))
    progress = Progress(resume, file)
    with (
        opened(file) as source,
        _errors_file(errors) as refused_lines,
        bar(session, "events", 0 if file == "-" else Path(file).stat().st_size) as advance,
    ):
        report = _Report(refused_lines, progress, advance)
        sender = Sender(stub, session.parent, report.acknowledged)
        await sender.send(_batches(source, session.parent, batch, progress, report))
        report.totals = sender.totals
        report.lines_done = max(report.lines_done, report.ends_at)
        progress.reached(report.lines_done)
    if report.broken is not None:
        raise report.broken
    report.write(session)


@dataclass(slots=True)
class _Tag:
    """What a batch's lines were."""

    numbers: list[int]
    contents: list[bytes]
    end: int
    """Number of the last line that it covers, unreadable ones included."""
    offset: int


@dataclass(slots=True)
class _Report:
    """What became of the lines."""

    refused_lines: IO[str] | None
    progress: "Progress"
    bar: Callable[[int, int], None]
    lines_done: int = 0
    ends_at: int = 0
    """Number of the last line, where nothing to send comes after the last batch."""
    unreadable: int = 0
    shown: list[tuple[int, str]] = field(default_factory=list)
    totals: "Totals | None" = None
    broken: Problem | None = None
    """Why the file could not be read to its end."""

    async def acknowledged(self, batch: "Batch[_Tag]", response: "StreamEventsResponse") -> None:
        """Take down an acknowledgement: what was refused, and how far it is."""
        for index, status in sorted(response.failed_events.items()):
            self.refuse(batch.tag.numbers[index], batch.tag.contents[index], _refusal(status))
        self.lines_done = batch.tag.end
        self.progress.reached(self.lines_done)
        self.bar(len(batch.events), batch.tag.offset)

    def refuse(self, number: int, content: bytes, why: "dict[str, Any]") -> None:
        """Take down a refused line."""
        if len(self.shown) < _SHOWN:
            self.shown.append((number, f"{why['message']} [{why['reason']}]"))
        if self.refused_lines is not None:
            import json

            line = {"line": number, **why, "content": content.decode(errors="replace")}
            self.refused_lines.write(json.dumps(line, ensure_ascii=False) + "\n")

    def write(self, session: Session) -> None:
        """Say how it went.

        Raises:
            Problem: Some lines were refused.
        """
        totals = self.totals
        assert totals is not None
        refused = totals.refused + self.unreadable
        summary = {
            "lines": self.lines_done,
            "accepted_count": totals.accepted,
            "duplicate_count": totals.duplicates,
            "refused_count": refused,
            "reconnects": totals.reconnects,
        }
        if session.json:
            write_json(summary)
        else:
            typer.echo(
                f"{totals.accepted:,} accepted ({totals.duplicates:,} known before),"
                f" {refused:,} refused"
            )
        if refused:
            from cli.problems import Detail

            more = refused - len(self.shown)
            details = [Detail(f"line {number}", text) for number, text in sorted(self.shown)]
            if more > 0:
                details.append(Detail("and", f"{more:,} more"))
            raise Problem(
                f"{refused:,} lines were refused; all others are in",
                reason="EVENTS_REFUSED",
                details=details,
                hint="--errors FILE takes them all, each with its reason",
            )


def _batches(
    source: "Source", parent: str, size: int, progress: "Progress", report: _Report
) -> "Iterator[Batch[_Tag]]":
    from cli.streaming.records import Unreadable, event_of
    from cli.streaming.stream import Batch

    batch: Batch[_Tag] = Batch([], _Tag([], [], 0, 0))
    last = 0
    for line in _readable(source, report):
        last = line.number
        if line.number == 1:
            progress.begin(line.content)
        if line.number <= progress.lines or not line.content.strip():
            continue
        try:
            event = event_of(line.content, parent)
        except Unreadable as error:
            report.unreadable += 1
            report.refuse(line.number, line.content, _why(str(error), "LINE_INVALID"))
            continue
        batch.events.append(event)
        batch.tag.numbers.append(line.number)
        batch.tag.contents.append(line.content)
        batch.tag.end = line.number
        batch.tag.offset = line.offset or batch.tag.offset
        if len(batch.events) >= size:
            yield batch
            batch = Batch([], _Tag([], [], 0, 0))
    if batch.events:
        batch.tag.end = last
        yield batch
    else:
        # Nothing is on its way, or all of it ends before this line.
        report.ends_at = last


def _readable(source: "Source", report: _Report) -> "Iterator[Line]":
    from cli.streaming.records import lines

    try:
        yield from lines(source)
    except Problem as problem:
        # Not through gRPC, which would end the stream and keep the reason to itself.
        report.broken = problem


def _why(message: str, reason: str) -> "dict[str, Any]":
    return {"reason": reason, "message": message}


def _refusal(status: "Status") -> "dict[str, Any]":
    from cli.streaming.statuses import why

    found = why(status)
    return _why(found.message, found.reason)


@contextmanager
def _errors_file(file: Path | None) -> Iterator[IO[str] | None]:
    if file is None:
        yield None
        return
    with file.open("w", encoding="utf-8") as opened:
        yield opened
