"""How a device stands in a row."""

from collections import defaultdict
from collections.abc import Collection

import asyncpg

from mesh.postgres import Connection
from services.profile.model import PersonKey
from services.profile.model.devices import Device, DeviceState, Platform
from services.profile.store.rows import columns

_DEVICE = """
d.device_id, d.member_id, d.platform, d.state, d.seen_us, d.token, d.app, d.locale, d.reason,
d.create_time, d.end_time
"""
_OF_PEOPLE = f"""
SELECT d.workspace, d.person_id, {_DEVICE}
FROM unnest($1::text[], $2::text[]) AS w (workspace, person_id)
JOIN devices AS d USING (workspace, person_id)
"""  # noqa: S608 — put together from constants
# Only of who has it: another may have got it in the meantime.
DISOWN = """
DELETE FROM device_owners AS o
USING unnest($1::text[], $2::uuid[], $3::text[]) AS w (workspace, device_id, member_id)
WHERE o.workspace = w.workspace AND o.device_id = w.device_id AND o.member_id = w.member_id
"""


async def read_devices(
    db: Connection, people: Collection[PersonKey]
) -> dict[PersonKey, list[Device]]:
    """Return all devices of these people, under the names that stay."""
    found: defaultdict[PersonKey, list[Device]] = defaultdict(list)
    for row in await db.fetch(_OF_PEOPLE, *columns(people, 2)) if people else ():
        found[row[0], row[1]].append(_device(row))
    return found


def _device(row: asyncpg.Record) -> Device:
    return Device(
        row[2],
        row[3],
        Platform(row[4]),
        DeviceState(row[5]),
        *row[6:],
    )
