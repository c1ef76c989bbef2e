"""Which partitions should a worker hold?"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker should do about partitions."""

    take: tuple[int, ...]
    """Free ones, to be asked for."""
    release: tuple[int, ...]
    """Own ones, to be given back."""


def share(owners: Mapping[int, str | None], me: str, *, workers: int) -> Share:
    """Return what brings `me` to an even share.

    Everybody comes to hold at most one partition more than anybody else; while some
    partition is free, up to the larger share may be taken, so that none stays free.

    Args:
        owners: every partition and who holds it; None: nobody who lives.
        me: the worker that asks.
        workers: how many live, `me` included.
    """
    mine = sorted(partition for partition, owner in owners.items() if owner == me)
    free = sorted(partition for partition, owner in owners.items() if owner is None)
    most = -(-len(owners) // max(1, workers))
    if len(mine) > most:
        return Share((), tuple(mine[most:]))
    return Share(tuple(free[: most - len(mine)]), ())
