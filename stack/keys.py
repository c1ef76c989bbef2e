"""The keys with which the processes of one stack know each other."""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from mesh.callers import key_entry

ADMIN = "admin"


def make_keys(folder: Path, services: Sequence[str]) -> tuple[Path, dict[str, Path]]:
    """Return the keyring and each caller's key file; make what is missing.

    A caller's key is kept across starts: whoever copied it may go on using it. `admin` may do
    everything; so may the services, on a machine where each could read the other's key anyway.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {caller: folder / f"{caller}.key" for caller in (*services, ADMIN)}
    for file in files.values():
        if not file.exists():
            write_secret(file, secrets.token_urlsafe(32))
    keyring = folder / "keyring.json"
    entries = [key_entry(caller, file.read_text().strip()) for caller, file in files.items()]
    write_secret(keyring, json.dumps(entries, indent=2))
    return keyring, files


def write_secret(file: Path, content: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(content + "\n")
    unfinished.replace(file)
