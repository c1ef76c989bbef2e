"""Shows what processes write, while they write it."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

_LOOK = 0.2


async def follow(logs: Mapping[str, Path], write: Callable[[str], None]) -> None:
    """Pass on every new line of every log, with the name of its process before it, until cancelled.

    The processes write to their files and know nothing of us: a console that stands still does not
    make them stand still.
    """
    width = max(map(len, logs), default=0)
    places = {name: _size(log) for name, log in logs.items()}
    while True:
        for name, log in logs.items():
            places[name] = _pass_on(log, places[name], f"{name:<{width}} | ", write)
        await asyncio.sleep(_LOOK)


def _pass_on(log: Path, place: int, prefix: str, write: Callable[[str], None]) -> int:
    """Pass on the whole lines after a place; return the place after them."""
    size = _size(log)
    if size == place:
        return place
    with log.open("rb") as source:
        # Smaller than before: another file took its name.
        source.seek(place if size > place else 0)
        new = source.read()
    end = new.rfind(b"\n") + 1
    for line in new[:end].splitlines():
        write(prefix + line.decode(errors="replace"))
    return (place if size > place else 0) + end


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0
