"""Remembers recent event ids in this process, to tell a caller early that an event is known.

A courtesy to who repeats within seconds, as clients do: it ends with the process
and is not shared. That an event counts once is kept by profile. (Shared in Redis
it cost as much again as all else the door does.)
"""

from collections import defaultdict
from collections.abc import Sequence

_Generation = defaultdict[str, dict[str, bytes]]
_NONE: dict[str, bytes] = {}


class RecentIds:
    """The fingerprints of the last `capacity` events at least, and of twice as many at most.

    About 230 bytes an event. Two generations: when the newer is full, the older is let go.
    """

    def __init__(self, capacity: int) -> None:
        """Begin with none; a capacity of 0 remembers nothing."""
        self._capacity = capacity
        self._newer: _Generation = defaultdict(dict)
        self._older: _Generation = defaultdict(dict)
        self._count = 0

    def recall(self, workspace: str, event_ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the fingerprint that each id was remembered with, or None."""
        newer, older = self._newer.get(workspace, _NONE), self._older.get(workspace, _NONE)
        # Mostly none is known, which one look in C at all of them tells.
        if newer.keys().isdisjoint(event_ids) and older.keys().isdisjoint(event_ids):
            return [None] * len(event_ids)
        return [newer.get(event_id) or older.get(event_id) for event_id in event_ids]

    def remember(
        self, workspace: str, event_ids: Sequence[str], fingerprints: Sequence[bytes]
    ) -> None:
        """Remember events that are durable now.

        Never sooner: to call an event known that can still be lost loses it.
        """
        self._count += len(event_ids)
        if self._count > self._capacity:
            self._older, self._newer = self._newer, defaultdict(dict)
            self._count = len(event_ids)
        if self._capacity:
            self._newer[workspace].update(zip(event_ids, fingerprints, strict=True))
