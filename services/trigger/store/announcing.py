"""The version of the catalogue, and who is told that there is a new one."""

from mesh.postgres import Connection

CHANNEL = "trigger_catalogue"
"""On which a new version of the catalogue is made known."""


async def announce(connection: Connection) -> None:
    """Count up the catalogue's version: what the transaction changes is judged with."""
    # Heard when the transaction commits, and not at all when it does not.
    version = await connection.fetchval(
        "UPDATE catalogue SET version = version + 1 RETURNING version"
    )
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(version))
