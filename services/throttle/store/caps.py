"""Frequency caps, in PostgreSQL and for half a second in memory."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import asyncpg
import structlog

from mesh.clock import Clock
from mesh.errors import Aborted, Unavailable
from mesh.postgres import Connection, Database
from mesh.server import Stopping
from services.throttle.model import (
    Calendar,
    Channel,
    FrequencyCap,
    OnBreach,
    Rolling,
    StoredCap,
    Window,
)

log = structlog.get_logger(__name__)

CHANGED: Final = "throttle_caps_changed"
"""What PostgreSQL notifies with the workspace whose caps changed."""

# Half of what the contract allows: the question may wait for the other half.
STALE: Final = timedelta(milliseconds=500)
# A workspace costs a kilobyte; beyond so many, all are read anew.
_WORKSPACES_MAX: Final = 10_000
_LISTEN_AGAIN_SECONDS: Final = 1.0

_COLUMNS = (
    "workspace, cap_id, channel, count_limit, calendar, rolling, on_breach, version, update_time"
)
# The lists of columns are constants of ours.
_OF_WORKSPACES = f"""
SELECT {_COLUMNS} FROM frequency_caps WHERE workspace = ANY($1::text[]) ORDER BY cap_id
"""  # noqa: S608
_PAGE = f"""
SELECT {_COLUMNS} FROM frequency_caps WHERE workspace = $1 AND cap_id > $2 ORDER BY cap_id LIMIT $3
"""  # noqa: S608
_ONE = f"SELECT {_COLUMNS} FROM frequency_caps WHERE workspace = $1 AND cap_id = $2"  # noqa: S608
_SAVE = """
INSERT INTO frequency_caps
    (workspace, cap_id, channel, count_limit, calendar, rolling, on_breach, version, update_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (workspace, cap_id) DO UPDATE SET
    channel = excluded.channel, count_limit = excluded.count_limit, calendar = excluded.calendar,
    rolling = excluded.rolling, on_breach = excluded.on_breach, version = excluded.version,
    update_time = excluded.update_time
"""

Change: TypeAlias = Callable[[StoredCap | None, int], FrequencyCap]
"""Takes a cap as it is (None: missing) and how many the workspace has; returns what it shall be."""


class Caps:
    """Keeps caps, and answers what holds in a workspace from memory."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take the service's schema."""
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[datetime, tuple[FrequencyCap, ...]]] = {}

    async def current(self, workspaces: Iterable[str]) -> Mapping[str, tuple[FrequencyCap, ...]]:
        """Return the caps of the workspaces, by id, at most half a second old."""
        now = self._clock.now()
        wanted = set(workspaces)
        # Taken out before waiting: a change may be heard of meanwhile.
        fresh = {w: self._known[w][1] for w in wanted if self._fresh(w, now)}
        stale = wanted - fresh.keys()
        return fresh | await self._load(stale, now) if stale else fresh

    def forget(self, workspace: str) -> None:
        """Read the caps of a workspace anew before they are next asked for."""
        self._known.pop(workspace, None)

    async def get(self, workspace: str, cap_id: str) -> StoredCap | None:
        """Return a cap, None when there is none of that name."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_ONE, workspace, cap_id)
        return None if row is None else _stored(row)

    async def page(self, workspace: str, *, after: str, size: int) -> Sequence[StoredCap]:
        """Return at most `size` caps by id, from the one behind `after`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, workspace, after, size)
        return [_stored(row) for row in rows]

    async def change(self, workspace: str, cap_id: str, change: Change) -> StoredCap:
        """Make of a cap what `change` says; what it raises leaves everything as it was.

        Changes of one workspace happen one after the other, so that what
        `change` sees still holds when its answer is written.
        """
        async with self._database.transaction() as connection:
            await _lock(connection, workspace)
            row = await connection.fetchrow(_ONE, workspace, cap_id)
            count = await connection.fetchval(
                "SELECT count(*) FROM frequency_caps WHERE workspace = $1", workspace
            )
            current = None if row is None else _stored(row)
            cap = change(current, count)
            changed = StoredCap(
                cap=cap,
                version=1 if current is None else current.version + 1,
                update_time=self._clock.now(),
            )
            await _save(connection, changed)
        self.forget(workspace)
        return changed

    async def delete(self, workspace: str, cap_id: str) -> bool:
        """Remove a cap; say whether there was one."""
        async with self._database.transaction() as connection:
            found = await connection.fetchval(
                "DELETE FROM frequency_caps WHERE workspace = $1 AND cap_id = $2 RETURNING 1",
                workspace,
                cap_id,
            )
        self.forget(workspace)
        return found is not None

    async def listen(self, stopping: Stopping) -> None:
        """Hear of changes made by other processes, until told to stop.

        Only makes them hold sooner: what is in memory is never used for long.
        """
        while not stopping.is_set():
            try:
                await self._listen_once(stopping)
            except (Unavailable, Aborted):
                log.warning("caps_not_listening")
            await stopping.wait(_LISTEN_AGAIN_SECONDS)

    async def _listen_once(self, stopping: Stopping) -> None:
        def heard(_connection: object, _pid: int, _channel: str, workspace: object) -> None:
            self.forget(str(workspace))

        async with self._database.connection() as connection:
            await connection.add_listener(CHANGED, heard)
            while not connection.is_closed() and not stopping.is_set():
                await stopping.wait(_LISTEN_AGAIN_SECONDS)
            if not connection.is_closed():
                await connection.remove_listener(CHANGED, heard)

    def _fresh(self, workspace: str, now: datetime) -> bool:
        known = self._known.get(workspace)
        # A clock that was set back makes nothing fresh for longer.
        return known is not None and abs(now - known[0]) < STALE

    async def _load(
        self, workspaces: Collection[str], now: datetime
    ) -> dict[str, tuple[FrequencyCap, ...]]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OF_WORKSPACES, list(workspaces))
        caps = [_stored(row).cap for row in rows]
        loaded = {w: tuple(cap for cap in caps if cap.workspace == w) for w in workspaces}
        if len(self._known) + len(loaded) > _WORKSPACES_MAX:
            self._known.clear()
        # As old as the question: what changed while it was answered may be missing.
        self._known.update({w: (now, caps) for w, caps in loaded.items()})
        return loaded


async def _lock(connection: Connection, workspace: str) -> None:
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('frequency_caps/' || $1::text, 0))",
        workspace,
    )


async def _save(connection: Connection, stored: StoredCap) -> None:
    cap = stored.cap
    window = cap.window
    await connection.execute(
        _SAVE,
        cap.workspace,
        cap.cap_id,
        cap.channel,
        cap.limit,
        window.value if isinstance(window, Calendar) else None,
        window.span if isinstance(window, Rolling) else None,
        cap.on_breach.value,
        stored.version,
        stored.update_time,
    )


def _stored(row: asyncpg.Record) -> StoredCap:
    window: Window = (
        Rolling(row["rolling"]) if row["calendar"] is None else Calendar(row["calendar"])
    )
    return StoredCap(
        cap=FrequencyCap(
            workspace=row["workspace"],
            cap_id=row["cap_id"],
            channel=None if row["channel"] is None else Channel(row["channel"]),
            limit=row["count_limit"],
            window=window,
            on_breach=OnBreach(row["on_breach"]),
        ),
        version=row["version"],
        update_time=row["update_time"],
    )
