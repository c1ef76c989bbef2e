"""What becomes of devices when people are united, parted or erased."""

from collections.abc import Sequence

from mesh.postgres import Connection
from services.profile.store.devices.rows import DISOWN


async def reassign(
    db: Connection, workspace: str, member_ids: Sequence[str], person_id: str
) -> None:
    """Give what was registered under these ids to a person, in the caller's transaction."""
    for table in ("devices", "device_transfers"):
        # Of an id that kept its name; then of ids that had given it up.
        for which in ("person_id = ANY($2::text[])", "member_id <> person_id"):
            await db.execute(
                f"UPDATE {table} SET person_id = $3 WHERE workspace = $1"  # noqa: S608 — constants
                f" AND member_id = ANY($2::text[]) AND person_id <> $3 AND {which}",
                workspace,
                member_ids,
                person_id,
            )


async def erase(db: Connection, workspace: str, person_id: str) -> dict[str, int]:
    """Delete all that is kept of the person's devices, in the caller's transaction.

    Who gave them a device, or got one from them, keeps that line without the name.
    """
    owned = await db.fetch(
        "DELETE FROM devices WHERE workspace = $1 AND person_id = $2"
        " RETURNING device_id, member_id",
        workspace,
        person_id,
    )
    ids = [row[0] for row in owned], [row[1] for row in owned]
    await db.execute(DISOWN, [workspace] * len(owned), *ids)
    transfers = await db.fetch(
        "DELETE FROM device_transfers WHERE workspace = $1 AND person_id = $2"
        " RETURNING transfer_id, member_id",
        workspace,
        person_id,
    )
    for side in ("from_member", "to_member"):
        await db.execute(
            f"UPDATE device_transfers AS t SET {side} = ''"  # noqa: S608 — constants
            " FROM unnest($1::bigint[], $2::text[]) AS w (transfer_id, member_id)"
            f" WHERE t.transfer_id = w.transfer_id AND t.{side} = w.member_id",
            [row[0] for row in transfers],
            [row[1] for row in transfers],
        )
    return {
        "devices": len({row[0] for row in owned}),
        "device_transfers": len({row[0] for row in transfers}),
    }
