"""Tells filters that fail from a database that is away."""

from asyncpg import exceptions as driver

from mesh.errors import InvalidArgument, MeshError


def is_its_own_fault(error: MeshError | driver.PostgresError) -> bool:
    """Return whether what was asked has failed, or took too long: asked again it would again.

    Else the database is away or somebody else was faster, and all wait alike.
    """
    if isinstance(error, MeshError):
        slow = isinstance(error.__cause__, driver.QueryCanceledError | TimeoutError)
        return slow or isinstance(error, InvalidArgument)
    return True
