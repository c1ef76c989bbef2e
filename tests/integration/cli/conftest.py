"""A stack that `beckon up` brought up, and a command line at hand."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.__main__ import app

_numbers = count(1)
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The lines of JSON."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def document(self) -> dict[str, Any]:
        """The one line of JSON."""
        [document] = self.documents
        return document


@dataclass(frozen=True, slots=True)
class Beckon:
    """The command, for one workspace of the stack."""

    folder: Path
    workspace: str

    def __call__(self, *arguments: str, code: int = 0) -> Answer:
        """Run a command that is expected to end with a code."""
        answer = self._run(arguments)
        assert answer.exit_code == code, answer
        return answer

    def until(self, holds: Callable[[Answer], bool], *arguments: str) -> Answer:
        """Run a command again and again until it succeeds and its answer is as wanted."""
        begun = time.perf_counter()
        while (answer := self._run(arguments)).exit_code != 0 or not holds(answer):
            assert time.perf_counter() - begun < _PATIENCE, answer
            time.sleep(0.1)
        return answer

    def _run(self, arguments: Sequence[str]) -> Answer:
        environ = {"BECKON_STATE": str(self.folder), "BECKON_WORKSPACE": self.workspace}
        found = CliRunner().invoke(app, list(arguments), env=environ)
        return Answer(found.exit_code, found.stdout, found.stderr)


@pytest.fixture(scope="module")
def stack_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack of the module's own; it ends as Ctrl-C ends it, leaving nothing behind."""
    folder = tmp_path_factory.mktemp("stack")
    command = [sys.executable, "-m", "cli", "up", "--ports", "auto", "--fast", "--state"]
    process = Popen(
        [*command, str(folder)], stdout=PIPE, stderr=STDOUT, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Ctrl-C stops everything"):
            break
    else:
        pytest.fail("".join(said))
    try:
        yield folder
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert rest.strip().endswith("stopped; the data is still there")


@pytest.fixture
def beckon(stack_folder: Path) -> Beckon:
    """The command, in a workspace of the test's own."""
    return Beckon(stack_folder, f"test-{next(_numbers)}")
