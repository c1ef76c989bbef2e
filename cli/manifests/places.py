"""Where things stand in files, and what is wrong there."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cli.problems import REFUSED, Detail, Problem


class Place(NamedTuple):
    """A character of a file; line and column count from 1."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        """Return what editors and terminals turn into a link."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a place, and what would be right."""

    place: Place
    text: str


class Faults:
    """All faults of all files: who mends a file wants to see them at once."""

    def __init__(self) -> None:
        """Begin with none."""
        self.found: list[Fault] = []

    def add(self, place: Place, text: str) -> None:
        """Take one down, once."""
        fault = Fault(place, text)
        if fault not in self.found:
            self.found.append(fault)

    def require_none(self, *, so: str = "nothing was applied", exit_code: int = REFUSED) -> None:
        """Refuse what has faults.

        Args:
            so: what follows from them.
            exit_code: of the command.

        Raises:
            Problem: Listing them all, in the order of the files.
        """
        if not self.found:
            return
        found = sorted(self.found, key=lambda fault: fault.place)
        count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        raise Problem(
            f"{count} in the files; {so}",
            reason="MANIFEST_INVALID",
            details=[Detail(str(fault.place), fault.text) for fault in found],
            exit_code=exit_code,
        )
