"""Who is who, and locks on people, as every transaction about them takes them."""

from collections.abc import Collection

from mesh.postgres import Connection


async def identities_of(
    connection: Connection, people: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Return under which id those of the people go, given as (workspace, id), that have one."""
    if not people:
        return {}
    workspaces, ids = zip(*people, strict=True)
    rows = await connection.fetch(
        "SELECT workspace, member, profile FROM identities"
        " JOIN unnest($1::text[], $2::text[]) AS asked(workspace, member)"
        " USING (workspace, member)",
        list(workspaces),
        list(ids),
    )
    return {(row["workspace"], row["member"]): row["profile"] for row in rows}


async def lock_people(connection: Connection, people: Collection[tuple[str, str]]) -> None:
    """Hold people, given as (workspace, id), until the transaction ends; in one order.

    After the partitions, whoever locks those too.
    """
    workspaces, ids = zip(*people, strict=True)
    await connection.execute(
        "SELECT pg_advisory_xact_lock(id) FROM (SELECT DISTINCT"
        " hashtextextended(concat_ws('/', workspace, profile), 0) AS id"
        " FROM unnest($1::text[], $2::text[]) AS k(workspace, profile) ORDER BY id) AS ids",
        list(workspaces),
        list(ids),
    )
