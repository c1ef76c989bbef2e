"""Passages in memory, as the store of trigger keeps them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.trigger.model import Enrollment, EnrollmentState, Key

_OPEN = (EnrollmentState.WAITING, EnrollmentState.SENDING)


class Passages:
    """Everybody's passages through every campaign."""

    def __init__(self) -> None:
        """Begin without any."""
        self._of: dict[Key, dict[UUID, Enrollment]] = defaultdict(dict)

    def __iter__(self) -> Iterator[Enrollment]:
        """Yield all of them."""
        for of_key in self._of.values():
            yield from of_key.values()

    def known(self, keys: Iterable[Key], uid: UUID | None, now: datetime) -> list[Enrollment]:
        """Return those that a turn knows: what has not ended, and the event's own."""
        return [
            one
            for key in keys
            for one in self._of.get(key, {}).values()
            if one.event.uid == uid or is_open(one, now)
        ]

    def last_entries(self, keys: Collection[Key]) -> dict[Key, datetime]:
        """Return the latest entry of each key, of all time."""
        found: dict[Key, datetime] = {}
        for one in self.of_keys(keys):
            if one.digest_key is None:
                found[one.key] = max(found.get(one.key, one.entry_time), one.entry_time)
        return found

    def of_keys(self, keys: Collection[Key]) -> list[Enrollment]:
        """Return all passages of some keys."""
        return [one for key in keys for one in self._of.get(key, {}).values()]

    def entries(self, keys: Collection[Key]) -> dict[tuple[Key, str], datetime]:
        """Return the latest entry for each value by which re-entry is asked apart."""
        found: dict[tuple[Key, str], datetime] = {}
        for one in self.of_keys(keys):
            if one.digest_key is None:
                name = one.key, one.reentry_key
                found[name] = max(found.get(name, one.entry_time), one.entry_time)
        return found

    def of_people(self, profiles: Collection[str]) -> list[Enrollment]:
        """Return all passages of people."""
        return [one for one in self if one.key.profile in profiles]

    def put(self, passage: Enrollment) -> Enrollment:
        """Keep a passage as it is to stand."""
        kept = replace(passage, revision=passage.revision + 1)
        self._of[kept.key][kept.event.uid] = kept
        return kept

    def remove(self, passage: Enrollment) -> None:
        """Forget a passage that would never have begun."""
        self._of[passage.key].pop(passage.event.uid, None)

    def move(self, passage: Enrollment, profile: str) -> Enrollment:
        """Return a passage under the id that its person goes by now."""
        del self._of[passage.key][passage.event.uid]
        moved = replace(
            passage,
            key=passage.key._replace(profile=profile),
            member="" if passage.origin == profile else passage.origin,
        )
        return self.put(moved)

    def get(self, key: Key, uid: UUID) -> Enrollment | None:
        """Return one passage."""
        return self._of.get(key, {}).get(uid)

    def next_wake(self) -> Enrollment | None:
        """Return the waiting passage whose time comes first."""
        waiting = (
            one
            for one in self
            if one.state is EnrollmentState.WAITING and one.wake_time is not None
        )
        return min(waiting, key=_wake, default=None)


def is_open(passage: Enrollment, now: datetime) -> bool:
    """Say whether something may still stop a passage's message."""
    return passage.state in _OPEN or (
        passage.state is EnrollmentState.SENT and passage.expire_time > now
    )


def _wake(passage: Enrollment) -> tuple[datetime, datetime, bytes]:
    return (
        passage.wake_time or passage.due_time,
        passage.event.receive_time,
        passage.event.uid.bytes,
    )
