"""What digests gather, in memory, as the store of trigger keeps it."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

from services.trigger.model import (
    DigestContent,
    DigestEffects,
    DigestItem,
    DigestRecords,
    DigestUndo,
    Enrollment,
    Key,
    ObjectTally,
    Plan,
    WindowSummary,
)
from services.trigger.rules.digests import groups_of, summary_of


class Windows:
    """Everything that was gathered."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._items: dict[tuple[Key, UUID], DigestItem] = {}
        self._undos: dict[tuple[Key, UUID], DigestUndo] = {}

    def records(self, keys: Collection[Key]) -> DigestRecords:
        """Return what is known of some keys."""
        return DigestRecords(
            tuple(one for one in self._items.values() if one.key in keys),
            tuple(one for one in self._undos.values() if one.key in keys),
        )

    def put(self, effects: DigestEffects) -> None:
        """Keep what a turn has gathered and taken out again."""
        for item in (*effects.added, *effects.removed):
            self._items[item.key, item.event.uid] = item
        for undo in effects.undos:
            self._undos[undo.key, undo.event.uid] = undo

    def summary(self, passage: Enrollment) -> WindowSummary | None:
        """Return what is left in the window of a passage; None: it is none."""
        if passage.digest_key is None:
            return None
        return summary_of(self.items_of(passage))

    def told(self, plan: Plan, passage: Enrollment) -> dict[str, Any] | None:
        """Return what the template of a window sees, with ids for events; None: it is none."""
        if passage.digest_key is None or plan.digest is None:
            return None
        left = sorted(
            (one for one in self.items_of(passage) if not one.removed),
            key=lambda one: (one.event.occur_time, one.event.uid.bytes),
            reverse=True,
        )
        content = DigestContent(_tallies(left), tuple(left[: plan.digest.items_max]))
        return {
            "count": content.count,
            "items": [one.event.event_id for one in content.latest],
            "groups": [
                {
                    "object": group.object,
                    "count": group.count,
                    "actors": [one.actor for one in group.actors],
                    "actor_count": group.actor_count,
                    "other_count": group.other_count,
                }
                for group in groups_of(content)
            ],
        }

    def hold(self, items: Iterable[DigestItem]) -> None:
        """Keep what windows hold now."""
        self._items |= {(item.key, item.event.uid): item for item in items}

    def move(self, profiles: Collection[str], profile: str) -> None:
        """Give what was gathered for some ids to the person whose they are."""
        for name, item in list(self._items.items()):
            if item.key.profile in profiles and item.key.profile != profile:
                del self._items[name]
                origin = item.origin
                moved = replace(
                    item,
                    key=item.key._replace(profile=profile),
                    member="" if origin == profile else origin,
                )
                self._items[moved.key, moved.event.uid] = moved
        for name, undo in list(self._undos.items()):
            if undo.key.profile in profiles and undo.key.profile != profile:
                del self._undos[name]
                after = replace(undo, key=undo.key._replace(profile=profile))
                self._undos[after.key, after.event.uid] = after
        # What they did under several ids is one person's.
        self._items = {
            name: replace(one, actor=profile) if one.actor in profiles else one
            for name, one in self._items.items()
        }
        self._undos = {
            name: replace(one, actor=profile) if one.actor in profiles else one
            for name, one in self._undos.items()
        }

    def items_of(self, passage: Enrollment) -> list[DigestItem]:
        """Return what the window of a passage has gathered, taken out again or not."""
        return [
            one
            for one in self._items.values()
            if one.key == passage.key and one.window == passage.event.uid
        ]


def _tallies(left: Collection[DigestItem]) -> list[ObjectTally]:
    counts: dict[str, int] = {}
    actors: dict[str, set[str]] = {}
    for one in left:
        counts[one.object] = counts.get(one.object, 0) + 1
        actors.setdefault(one.object, set()).add(one.actor)
    return [ObjectTally(each, counts[each], len(actors[each])) for each in counts]
