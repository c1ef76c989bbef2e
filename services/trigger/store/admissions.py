"""What was refused before: asked again, it is refused again without a second record."""

from collections.abc import Collection, Mapping
from uuid import UUID

from mesh.postgres import Connection
from services.trigger.model import Gate, Key
from services.trigger.store.rows import read_gates

_ON_RECORD = (
    "SELECT d.workspace, d.profile, d.campaign, d.event_uid, d.gates"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[])"
    " AS k(workspace, profile, campaign, event_uid)"
    " JOIN decisions AS d USING (workspace, profile, campaign, event_uid)"
)


async def refusals_of(
    connection: Connection, asked: Collection[tuple[Key, UUID]]
) -> Mapping[tuple[Key, UUID], tuple[Gate, ...]]:
    """Return why those of the events began nothing that are on record as refused."""
    if not asked:
        return {}
    columns = [list(column) for column in zip(*((*key, uid) for key, uid in asked), strict=True)]
    rows = await connection.fetch(_ON_RECORD, *columns)
    return {
        (Key(row["workspace"], row["profile"], row["campaign"]), row["event_uid"]): read_gates(
            row["gates"]
        )
        for row in rows
    }
