"""Devices: whose they are, whose they were, and where to push to."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from mesh.postgres import Connection, Database
from services.profile.model import PersonKey
from services.profile.model.devices import Device, DeviceReport, DeviceTransfer, Registration
from services.profile.rules import devices as rules
from services.profile.store.definitions import Definitions
from services.profile.store.devices.rows import read_devices
from services.profile.store.devices.turns import Turn
from services.profile.store.holding import Belonging, attempted, find

# What went from one id of a person to another of theirs came and left with nobody.
_TRANSFERS = """
WITH t AS MATERIALIZED (
    SELECT * FROM device_transfers
    WHERE workspace = $1 AND person_id = $2 AND transfer_id < $3
        AND NOT (from_member = ANY($4::text[]) AND to_member = ANY($4::text[]))
    ORDER BY transfer_id DESC LIMIT $5
)
SELECT t.transfer_id, t.device_id, COALESCE(NULLIF(f.merged_into, ''), t.from_member),
    COALESCE(NULLIF(g.merged_into, ''), t.to_member), t.reason, t.transfer_time
FROM t
LEFT JOIN profiles AS f ON f.workspace = t.workspace AND f.profile_id = t.from_member
LEFT JOIN profiles AS g ON g.workspace = t.workspace AND g.profile_id = t.to_member
ORDER BY t.transfer_id DESC
"""

LATEST = 2**63 - 1

_T = TypeVar("_T")


class Devices:
    """Changes and shows devices."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        """Take the pool, and what says which segments depend on devices."""
        self._database = database
        self._definitions = definitions

    async def register(
        self, key: PersonKey, registration: Registration, now: datetime
    ) -> tuple[PersonKey, Device]:
        """Make the device the person's, whosesoever it was; return whose it is now.

        Raises:
            FailedPrecondition: The person was erased.
            Aborted: Somebody united or parted the people concerned again and again.
        """

        async def work(turn: Turn) -> tuple[PersonKey, Device]:
            return await turn.register(key, registration)

        return await self._attempt(work, now)

    async def release(
        self, key: PersonKey, device_id: UUID, now: datetime
    ) -> tuple[PersonKey, Device] | None:
        """Let go of the device if the person has it; return it, None if they never had it."""

        async def work(turn: Turn) -> tuple[PersonKey, Device] | None:
            return await turn.release(key, device_id)

        return await self._attempt(work, now)

    async def retire(self, reports: Sequence[DeviceReport], now: datetime) -> int:
        """Let go of devices that a provider does not know; return how many that were."""

        async def work(turn: Turn) -> int:
            return await turn.retire(reports)

        return await self._attempt(work, now)

    async def expire(self, now: datetime, *, limit: int) -> int:
        """Delete devices that were not seen for very long, at most `limit`; return how many."""

        async def work(turn: Turn) -> int:
            return await turn.expire(limit)

        return await self._attempt(work, now)

    async def of(self, key: PersonKey) -> tuple[PersonKey, list[Device]]:
        """Return the person's name and devices, each once, last seen first."""
        async with self._database.connection() as db:
            person = (await find(db, [key]))[key].key
            found = (await read_devices(db, [person])).get(person, [])
        return person, rules.as_one(found)

    async def transfers(
        self, key: PersonKey, *, before: int = LATEST, limit: int
    ) -> tuple[PersonKey, list[DeviceTransfer]]:
        """Return the person's name and how devices came and left, newest first."""
        async with self._database.connection() as db:
            person = (await find(db, [key]))[key]
            return person.key, await _transfers(db, person, before, limit)

    async def _attempt(self, work: Callable[[Turn], Awaitable[_T]], now: datetime) -> _T:
        async def begin(db: Connection) -> _T:
            return await work(Turn(db, await self._definitions.current(db), now))

        return await attempted(self._database, begin)


async def _transfers(
    db: Connection, person: Belonging, before: int, limit: int
) -> list[DeviceTransfer]:
    rows = await db.fetch(_TRANSFERS, *person.key, before, list(person.member_ids), limit)
    return [DeviceTransfer(*row) for row in rows]
