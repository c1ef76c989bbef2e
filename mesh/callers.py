"""Who calls: the keyring of a server and the caller of the running call."""

import hmac
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec

ANY = "*"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone whose key we know."""

    name: str
    workspaces: frozenset[str]
    scopes: frozenset[str]

    def has_scope(self, scope: str) -> bool:
        """Say whether the key carries the scope."""
        return ANY in self.scopes or scope in self.scopes

    def may_enter(self, workspace: str) -> bool:
        """Say whether the key is for this workspace."""
        return ANY in self.workspaces or workspace in self.workspaces

    @property
    def enters_all(self) -> bool:
        """Say whether the key is for every workspace there is and will be."""
        return ANY in self.workspaces


class BadKeys(Exception):
    """The keys file cannot be used."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    caller: str
    sha256: str
    workspaces: list[str]
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys a server takes, known only by their SHA-256."""

    _entries: tuple[tuple[bytes, Caller], ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "KeyRing":
        """Read the keys file: a JSON list of caller, sha256, workspaces and scopes.

        One caller may have several keys, so that a key can be replaced without
        a gap.
        """
        try:
            return cls.parse(path.read_bytes())
        except OSError as error:
            message = f"cannot read the keys file {path}: {type(error).__name__}"
            raise BadKeys(message) from error

    @classmethod
    def parse(cls, content: bytes) -> "KeyRing":
        """Read the content of a keys file."""
        try:
            entries = msgspec.json.decode(content, type=list[_Entry])
        except msgspec.DecodeError as error:
            message = f"the keys file is not a list of callers: {error}"
            raise BadKeys(message) from error
        for entry in entries:
            if not _SHA256.fullmatch(entry.sha256):
                message = f"caller {entry.caller!r}: sha256 must be 64 lower-case hex digits"
                raise BadKeys(message)
            if not entry.caller:
                message = "a caller has no name"
                raise BadKeys(message)
        return cls(tuple((bytes.fromhex(one.sha256), _caller(one)) for one in entries))

    def find(self, key: str) -> Caller | None:
        """Return whose key it is.

        Looks at every entry and compares in constant time, so that the time
        taken says nothing about the keys.
        """
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        found: Caller | None = None
        for known, caller in self._entries:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def key_entry(
    caller: str, key: str, *, workspaces: Iterable[str] = (ANY,), scopes: Iterable[str] = (ANY,)
) -> dict[str, object]:
    """Return the entry of a keys file that lets `key` in as `caller`."""
    return {
        "caller": caller,
        "sha256": sha256(key.encode()).hexdigest(),
        "workspaces": sorted(workspaces),
        "scopes": sorted(scopes),
    }


_current: ContextVar[Caller | None] = ContextVar("beckon_caller", default=None)


def current_caller() -> Caller | None:
    """Return who made the call that is running; None outside of one."""
    return _current.get()


def enter(caller: Caller) -> None:
    """Remember the caller for the rest of this call's context."""
    _current.set(caller)


def _caller(entry: _Entry) -> Caller:
    return Caller(entry.caller, frozenset(entry.workspaces), frozenset(entry.scopes))
