"""How a running stack is found: a folder with a lock, and a file with every address."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import msgspec

from stack.errors import StackError, StateInUse

DEFAULT_FOLDER = ".beckon"
FOLDER_SETTING = "BECKON_STATE"

_FILE = "stack.json"
_LOCK = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where everything of a running stack is."""

    folder: Path
    pid: int
    """Of the supervisor."""
    services: dict[str, str]
    """gRPC address of each service."""
    metrics: dict[str, str]
    """Address of each service's Prometheus page."""
    database_url: str
    """Administrator's; holds a password."""
    database_urls: dict[str, str]
    """Each service's own; hold passwords."""
    redis_url: str
    """Holds a password."""
    mail_sink: str
    """SMTP address."""
    mail_sink_control: str
    """HTTP address of counts and faults."""
    webhook_sink: str
    """HTTP address, of counts and faults as well."""
    collector: str
    """OTLP address."""
    mail_store: Path
    webhook_store: Path
    span_store: Path
    keys_file: Path
    """The servers' keyring."""
    key_files: dict[str, Path]
    """Each caller's own key; `admin` may do everything."""
    logs: dict[str, Path]

    @property
    def admin_key(self) -> str:
        """The key that may do everything everywhere."""
        return self.key_files["admin"].read_text().strip()


def folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the state folder that is meant when none is named."""
    chosen = (os.environ if environ is None else environ).get(FOLDER_SETTING)
    return Path(chosen or DEFAULT_FOLDER).absolute()


def read(where: Path | None = None) -> State:
    """Return the stack that runs on a folder.

    Raises:
        StackError: None does; the text says how to start one.
    """
    chosen = (where or folder()).absolute()
    file = chosen / _FILE
    if not file.exists() or not _locked(chosen):
        raise StackError(
            f"no stack runs on {chosen}; start one with `beckon up`,"
            f" or name its folder in {FOLDER_SETTING}"
        )
    return msgspec.json.decode(file.read_bytes(), type=State, dec_hook=_from_text)


def write(state: State) -> None:
    """Let others find the stack."""
    file = state.folder / _FILE
    unfinished = file.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(asdict(state), default=str, indent=2) + "\n")
    unfinished.replace(file)


def forget(where: Path) -> None:
    """Let nobody find the stack any more."""
    (where / _FILE).unlink(missing_ok=True)


@contextmanager
def owned(where: Path) -> Iterator[None]:
    """Own a state folder for the length of a block, or of our life if that is shorter.

    Raises:
        StateInUse: Somebody else owns it.
        StackError: It cannot be made or written to.
    """
    with _lock_file(where) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise StateInUse(
                f"a stack (process {lock.read().strip() or 'unknown'}) already runs on {where};"
                f" stop it, or name another folder in {FOLDER_SETTING}"
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _lock_file(where: Path) -> TextIO:
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (where / _LOCK).open("a+")
    except OSError as error:
        raise StackError(
            f"{where} cannot hold a stack's state: {error.strerror};"
            f" name another folder in {FOLDER_SETTING}"
        ) from error
    return lock


def _from_text(kind: type[Path], text: str) -> Path:
    return kind(text)


def _locked(where: Path) -> bool:
    """Say whether somebody owns the folder. The kernel ends that with the owner's life."""
    with (where / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
