"""Changing hands, inside one transaction.

Who changes a device holds the people concerned first, in one order. Registrations of one token
wait for each other before that, so that twenty at once are twenty changes of hands, not one
and nineteen lost races.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from mesh.postgres import Connection
from services.profile.convert.moments import micros
from services.profile.model import PersonKey
from services.profile.model.changes import Touched
from services.profile.model.devices import (
    Device,
    DeviceReport,
    DeviceState,
    Registration,
    TransferReason,
)
from services.profile.rules import devices as rules
from services.profile.store import segments
from services.profile.store.definitions import Edition
from services.profile.store.devices.rows import DISOWN, read_devices
from services.profile.store.erasures import check_not_erased
from services.profile.store.holding import Belonging, create_missing, faster, find
from services.profile.store.rows import columns

_OWNERS = """
SELECT o.workspace, o.device_id, o.member_id
FROM unnest($1::text[], $2::uuid[]) AS w (workspace, device_id)
JOIN device_owners AS o USING (workspace, device_id)
"""
_OWN = """
INSERT INTO device_owners (workspace, device_id, member_id) VALUES ($1, $2, $3)
ON CONFLICT (workspace, device_id) DO UPDATE SET member_id = excluded.member_id
"""
_REGISTER = f"""
INSERT INTO devices AS d (workspace, person_id, device_id, member_id, platform, state, seen_us,
    token, app, locale, reason, create_time, end_time)
VALUES ($1, $2, $3, $4, $5, {DeviceState.ACTIVE}, $6, $7, $8, $9, '', $10, NULL)
ON CONFLICT (workspace, person_id, device_id, member_id) DO UPDATE SET
    state = excluded.state, seen_us = greatest(d.seen_us, excluded.seen_us),
    token = excluded.token, app = excluded.app, locale = excluded.locale, reason = '',
    create_time = excluded.create_time, end_time = NULL
"""  # noqa: S608 — put together from constants
# Its token is of no use to who does not own the device.
_END = f"""
UPDATE devices AS d SET state = w.state, reason = w.reason, end_time = $7, token = ''
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::smallint[], $6::text[])
    AS w (workspace, person_id, device_id, member_id, state, reason)
WHERE d.workspace = w.workspace AND d.person_id = w.person_id AND d.device_id = w.device_id
    AND d.member_id = w.member_id AND d.state = {DeviceState.ACTIVE}
"""  # noqa: S608 — put together from constants
_FORGET = """
DELETE FROM devices AS d
USING unnest($1::text[], $2::text[], $3::uuid[], $4::text[])
    AS w (workspace, person_id, device_id, member_id)
WHERE d.workspace = w.workspace AND d.person_id = w.person_id AND d.device_id = w.device_id
    AND d.member_id = w.member_id
"""
_UNSEEN = """
SELECT workspace, person_id FROM devices WHERE seen_us <= $1 ORDER BY seen_us LIMIT $2
"""
_NUMBERS = "SELECT nextval('device_transfer_ids') FROM generate_series(1, $1)"
_RECORD = """
INSERT INTO device_transfers (workspace, person_id, transfer_id, member_id, device_id,
    from_member, to_member, reason, transfer_time)
SELECT *, $9::timestamptz FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[],
    $5::uuid[], $6::text[], $7::text[], $8::text[])
"""


class _Held(NamedTuple):
    """A device, and the person who is held."""

    person: PersonKey
    device: Device


class _Change(NamedTuple):
    """A change of hands, from one to another; None: nobody."""

    device_id: UUID
    source: tuple[PersonKey, str] | None
    """The person, and the id that had it."""
    target: tuple[PersonKey, str] | None
    reason: TransferReason


class Turn:
    """One transaction that changes devices."""

    def __init__(self, db: Connection, edition: Edition, now: datetime) -> None:
        self._db = db
        self._edition = edition
        self._now = now
        self._now_us = micros(now)
        self._created: PersonKey | None = None

    async def register(
        self, key: PersonKey, registration: Registration
    ) -> tuple[PersonKey, Device]:
        (workspace, member_id), device_id = key, registration.device_id
        await self._db.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            f"device/{workspace}/{device_id}",
        )
        if await create_missing(self._db, key, self._now):
            self._created = key
        before = await self._owners([(workspace, device_id)])
        people = await self._hold([key, *before.values()])
        if await self._owners([(workspace, device_id)]) != before:
            raise faster()
        person, owner = people[key].key, before.get((workspace, device_id))
        source = None if owner is None else (people[owner].key, owner[1])
        create_time = self._now
        if source is not None and source[0] == person:
            create_time = (await self._one(person, device_id)).create_time
        if source is not None and source[1] != member_id:
            await self._end([(source, device_id, DeviceState.RELEASED, "")])
        await self._db.execute(_OWN, workspace, device_id, member_id)
        await self._db.execute(
            _REGISTER,
            *person,
            device_id,
            member_id,
            registration.platform,
            self._now_us,
            registration.token,
            registration.app,
            registration.locale,
            create_time,
        )
        if source is None or source[1] != member_id:
            target = (person, member_id)
            await self._record([_Change(device_id, source, target, TransferReason.REGISTERED)])
        await self._make_room(person)
        await self._touch({person} | ({source[0]} if source is not None else set()))
        await check_not_erased(self._db, [key], self._now)
        return person, await self._one(person, device_id)

    async def release(self, key: PersonKey, device_id: UUID) -> tuple[PersonKey, Device] | None:
        person = (await self._hold([key]))[key]
        known = await self._find(person.key, device_id)
        if known is None:
            return None
        if known.is_used:
            source = (person.key, known.member_id)
            await self._end([(source, device_id, DeviceState.RELEASED, "")])
            await self._disown([_Held(person.key, known)])
            await self._record([_Change(device_id, source, None, TransferReason.RELEASED)])
            await self._touch({person.key})
        return person.key, await self._one(person.key, device_id)

    async def retire(self, reports: Sequence[DeviceReport]) -> int:
        latest: dict[tuple[str, UUID], DeviceReport] = {}
        for report in sorted(reports, key=lambda one: one.report_us):
            latest[report.workspace, report.device_id] = report
        owners = await self._owners(latest)
        people = await self._hold(owners.values())
        devices = await read_devices(self._db, {person.key for person in people.values()})
        retired: list[tuple[_Held, str]] = []
        for person, theirs in devices.items():
            for device in theirs:
                # A report is about a time that has been: no clock retires what is to come.
                said = latest.get((person[0], device.device_id))
                if said and device.is_used and device.seen_us <= min(said.report_us, self._now_us):
                    retired.append((_Held(person, device), said.reason))
        await self._let_go(retired)
        return len(retired)

    async def expire(self, limit: int) -> int:
        before_us = self._now_us - rules.EXPIRED_AFTER_US
        rows = await self._db.fetch(_UNSEEN, before_us, limit)
        people = await self._hold({(row[0], row[1]) for row in rows})
        devices = await read_devices(self._db, {person.key for person in people.values()})
        gone = [
            _Held(person, device)
            for person, theirs in devices.items()
            for device in theirs
            if device.seen_us <= before_us
        ]
        await self._forget(gone, TransferReason.EXPIRED)
        await self._touch({one.person for one in gone})
        return len(gone)

    async def _make_room(self, person: PersonKey) -> None:
        devices = (await read_devices(self._db, [person])).get(person, [])
        displaced = {one.device_id for one in rules.displaced(devices)}
        gone = [_Held(person, one) for one in devices if one.device_id in displaced]
        if gone:
            await self._forget(gone, TransferReason.DISPLACED)

    async def _let_go(self, retired: Sequence[tuple[_Held, str]]) -> None:
        if not retired:
            return
        await self._end(
            [
                ((one.person, one.device.member_id), one.device.device_id, DeviceState.RETIRED, why)
                for one, why in retired
            ]
        )
        held = [one for one, _ in retired]
        await self._disown(held)
        await self._record([_left(one, TransferReason.RETIRED) for one in held])
        await self._touch({one.person for one in held})

    async def _forget(self, gone: Sequence[_Held], reason: TransferReason) -> None:
        """Delete devices; those that were used have left their person thereby."""
        if not gone:
            return
        rows = [(*one.person, one.device.device_id, one.device.member_id) for one in gone]
        await self._db.execute(_FORGET, *columns(rows, 4))
        used = [one for one in gone if one.device.is_used]
        await self._disown(used)
        await self._record([_left(one, reason) for one in used])

    async def _hold(self, people: Iterable[PersonKey]) -> Mapping[PersonKey, Belonging]:
        return await find(self._db, set(people), hold=True)

    async def _owners(
        self, devices: Collection[tuple[str, UUID]]
    ) -> dict[tuple[str, UUID], PersonKey]:
        rows = await self._db.fetch(_OWNERS, *columns(devices, 2))
        return {(row[0], row[1]): (row[0], row[2]) for row in rows}

    async def _find(self, person: PersonKey, device_id: UUID) -> Device | None:
        devices = (await read_devices(self._db, [person])).get(person, [])
        return next((one for one in rules.as_one(devices) if one.device_id == device_id), None)

    async def _one(self, person: PersonKey, device_id: UUID) -> Device:
        found = await self._find(person, device_id)
        if found is None:
            message = "the device that was just written is not there"
            raise AssertionError(message)
        return found

    async def _end(
        self, ended: Sequence[tuple[tuple[PersonKey, str], UUID, DeviceState, str]]
    ) -> None:
        rows = [
            (*person, device_id, member_id, state, reason)
            for (person, member_id), device_id, state, reason in ended
        ]
        await self._db.execute(_END, *columns(rows, 6), self._now)

    async def _disown(self, held: Sequence[_Held]) -> None:
        rows = [(one.person[0], one.device.device_id, one.device.member_id) for one in held]
        await self._db.execute(DISOWN, *columns(rows, 3))

    async def _record(self, changes: Sequence[_Change]) -> None:
        numbers = await self._db.fetch(_NUMBERS, len(changes))
        rows = []
        for change, (number,) in zip(changes, numbers, strict=True):
            came = change.target[1] if change.target else ""
            left = change.source[1] if change.source else ""
            for side in (change.source, change.target):
                if side is not None:
                    person, member_id = side
                    rows.append(
                        (*person, number, member_id, change.device_id, left, came, change.reason)
                    )
        await self._db.execute(_RECORD, *columns(rows, 8), self._now)

    async def _touch(self, people: Collection[PersonKey]) -> None:
        touched = [
            Touched(person, devices=True, anything=person == self._created)
            for person in sorted(people)
        ]
        await segments.reevaluate(self._db, touched, self._edition, self._now_us)


def _left(one: _Held, reason: TransferReason) -> _Change:
    return _Change(one.device.device_id, (one.person, one.device.member_id), None, reason)
