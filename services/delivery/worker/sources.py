"""Holds the templates in use, at most a second old."""

from collections.abc import Iterable
from datetime import timedelta
from time import monotonic

from services.delivery import convert
from services.delivery.model import Source
from services.delivery.render import source_key
from services.delivery.store import TemplateStore

# A template that was changed is used at the latest after this.
_FRESH = timedelta(seconds=1).total_seconds()
# Held by name; past it all are read again.
_HELD_MAX = 5000

Name = tuple[str, str]


class Sources:
    """Templates by (workspace, template)."""

    def __init__(self, store: TemplateStore) -> None:
        """Take where they are kept."""
        self._store = store
        self._held: dict[Name, tuple[str, str, Source]] = {}
        self._read: dict[Name, float] = {}

    async def get(self, names: Iterable[Name]) -> dict[Name, tuple[str, Source]]:
        """Return key and source of those that there are."""
        wanted = set(names)
        now = monotonic()
        stale = [name for name in wanted if now - self._read.get(name, -_FRESH) >= _FRESH]
        if stale:
            await self._refresh(stale, now)
        return {
            name: (held[1], held[2])
            for name in wanted
            if (held := self._held.get(name)) is not None
        }

    async def _refresh(self, names: list[Name], now: float) -> None:
        if len(self._read) > _HELD_MAX:
            self._held.clear()
            self._read.clear()
        found = {
            (record.workspace, record.template): record
            for record in await self._store.get_many(names)
        }
        for name in names:
            record = found.get(name)
            if record is None:
                self._held.pop(name, None)
            elif name not in self._held or self._held[name][0] != record.etag:
                source = convert.source(record.content)
                self._held[name] = (record.etag, source_key(source), source)
            self._read[name] = now
