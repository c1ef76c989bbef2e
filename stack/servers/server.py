"""What every embedded server has in common: a folder, a port it keeps, a password, a life."""

import asyncio
import secrets
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import ClassVar, Self

from stack import processes
from stack.errors import StackError, StartFailed
from stack.ports import free_port

# Going through the log of gigabytes again after a kill.
START_LIMIT = 60.0
_STOP_GRACE = 30.0


class Server(ABC):
    """One server: its data, its password and its log live in `folder`."""

    NAME: ClassVar[str]
    STOP: ClassVar[signal.Signals]
    """Asks it to write everything and end."""

    def __init__(self, folder: Path, *, port: int = 0, durable: bool = True) -> None:
        """Describe a server; port 0 is chosen at the first start and then kept."""
        self.folder = folder
        self.port = port
        self.start_seconds = 0.0
        """How long the last start took, creation or reading of the data included."""
        self._durable = durable
        self._child: processes.Child | None = None
        self._log = folder / f"{self.NAME}.log"
        self._password_file = folder / f"{self.NAME}.password"

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            StackError: It is not running.
        """
        if self._child is None:
            message = f"{self.NAME} is not running"
            raise StackError(message)
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.exit_code is None

    @property
    def log(self) -> Path:
        """What the server writes about itself."""
        return self._log

    async def start(self) -> None:
        """Start, on what the folder holds; makes it where there is nothing yet.

        Raises:
            StartFailed: It did not come up; the end of its log is in the text.
        """
        if self.running:
            return
        begun = perf_counter()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._prepare()
        self.port = self.port or free_port()
        self._child = self._launch()
        await self._wait_until_ready(self._child)
        self.start_seconds = perf_counter() - begun

    async def stop(self) -> None:
        """Let it write everything and stop. No error when it does not run."""
        if self._child is not None:
            await self._child.stop(self.STOP, grace=_STOP_GRACE)
            self._child = None

    def kill(self) -> None:
        """End it as kill -9 does, with all its processes."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    @abstractmethod
    async def _prepare(self) -> None:
        """Make what it needs to start on."""

    @abstractmethod
    def _launch(self) -> processes.Child:
        """Start the process."""

    @abstractmethod
    async def _ready(self, child: processes.Child) -> bool:
        """Say whether it takes clients now."""

    def _make_password(self) -> None:
        if not self._password_file.exists():
            self._password_file.touch(mode=0o600)
            self._password_file.write_text(secrets.token_urlsafe(24) + "\n")

    def _password(self) -> str:
        return self._password_file.read_text().strip()

    async def _wait_until_ready(self, child: processes.Child) -> None:
        begun = perf_counter()
        while not await self._ready(child):
            if child.exit_code is not None:
                self._child = None
                raise self._failed("did not start")
            if perf_counter() - begun > START_LIMIT:
                self.kill()
                raise self._failed(f"was not ready after {START_LIMIT:.0f} s")
            await asyncio.sleep(processes.LOOK)

    def _failed(self, problem: str) -> StartFailed:
        return StartFailed(self.NAME, problem, log=self._log, tail=processes.tail(self._log))
