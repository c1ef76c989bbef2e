"""Remembers which batches of an import are done, so that a repeat does none of them twice."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b, file_digest
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import msgspec

from cli.problems import Problem, usage
from mesh.clock import Clock

_ROOT = UUID("0f5f7e0e-6d1f-5b52-8e0b-6f1d0f6b2c37")

# The service answers a repeated request as it did the first for a day; an hour is for clocks.
KNOWN = timedelta(hours=23)


class Counts(msgspec.Struct):
    """What became of rows."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0

    def add(self, other: "Counts") -> None:
        """Count others in."""
        self.rows += other.rows
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.refused += other.refused


class State(msgspec.Struct):
    """How far an import is."""

    fingerprint: str
    """Of the file's content and of what its columns mean."""
    import_id: str
    source: str
    time: str
    """When this was written."""
    done_to: int = 0
    """Every batch up to this one is done."""
    done_beyond: list[int] = []
    begun_to: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)
    errors_bytes: int = 0
    """How much of the file of refused rows belongs to batches that are done."""
    complete: bool = False


class Checkpoint:
    """The state of an import, kept in a file; without a file it is forgotten at the end."""

    def __init__(self, file: Path | None, state: State, clock: Clock) -> None:
        """Go on from a state."""
        self._file = file
        self._clock = clock
        self.state = state

    @property
    def begun_before(self) -> bool:
        """Whether an earlier run has done a part."""
        return self.state.begun_to > 0

    def request_id(self, batch: int) -> str:
        """Return the id that makes a batch one request, however often it is sent."""
        return str(uuid5(UUID(self.state.import_id), str(batch)))

    def is_done(self, batch: int) -> bool:
        """Say whether a batch need not be sent."""
        return batch <= self.state.done_to or batch in self.state.done_beyond

    def begin(self, batch: int) -> None:
        """Remember, before it is sent, that a batch may arrive."""
        self.state.begun_to = max(self.state.begun_to, batch)
        self._write()

    def finish(self, batch: int, counts: Counts, errors_bytes: int) -> None:
        """Remember that a batch is done, and what became of it."""
        state = self.state
        state.counts.add(counts)
        state.errors_bytes = errors_bytes
        beyond = {*state.done_beyond, batch}
        while state.done_to + 1 in beyond:
            state.done_to += 1
            beyond.discard(state.done_to)
        state.done_beyond = sorted(beyond)
        self._write()

    def unsure(self) -> list[int]:
        """Return the batches of which nobody knows any more whether they arrived."""
        state = self.state
        if self._clock.now() - datetime.fromisoformat(state.time) < KNOWN:
            return []
        begun = range(state.done_to + 1, state.begun_to + 1)
        return [batch for batch in begun if batch not in state.done_beyond]

    def skip(self, batches: list[int]) -> None:
        """Take batches as done."""
        for batch in batches:
            self.finish(batch, Counts(), self.state.errors_bytes)

    def complete(self) -> None:
        """Remember that all is done."""
        self.state.complete = True
        self._write()

    def _write(self) -> None:
        self.state.time = self._clock.now().isoformat()
        if self._file is None:
            return
        unfinished = self._file.with_name(f"{self._file.name}.unfinished")
        try:
            unfinished.write_bytes(msgspec.json.encode(self.state) + b"\n")
            unfinished.replace(self._file)
        except OSError as error:
            raise usage(
                f"cannot remember how far it is in {self._file}: {error.strerror}",
                hint="--resume FILE names another place",
            ) from error


def open_checkpoint(
    file: Path | None, source: Path, settings: Mapping[str, object], *, anew: bool, clock: Clock
) -> Checkpoint:
    """Return where an import stands; at the beginning, where nothing is remembered.

    Raises:
        Problem: What is remembered is of another import.
    """
    fingerprint = _fingerprint(source, settings)
    found = None if anew or file is None else _read(file)
    if found is not None and found.fingerprint != fingerprint:
        raise Problem(
            f"{file} is the progress of another import ({found.source})",
            reason="OTHER_SOURCE",
            hint="the file or what its columns mean has changed: --anew begins from the first row",
        )
    if found is None:
        # Anew means that all of it counts once more: as a request that nobody has seen.
        import_id = uuid4() if anew else uuid5(_ROOT, fingerprint)
        now = clock.now().isoformat()
        found = State(fingerprint, str(import_id), source.name, now)
    return Checkpoint(file, found, clock)


def _read(file: Path) -> State | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise usage(f"{file} is no progress of an import: {error}") from error


def _fingerprint(source: Path, settings: Mapping[str, object]) -> str:
    try:
        with source.open("rb") as opened:
            # Of the content: a file may be replaced under its name.
            digest = file_digest(opened, lambda: blake2b(digest_size=16))
    except OSError as error:
        raise usage(f"cannot read {source}: {error.strerror}") from error
    meaning = json.dumps(settings, sort_keys=True)
    return blake2b(f"{digest.hexdigest()}\0{meaning}".encode(), digest_size=16).hexdigest()
