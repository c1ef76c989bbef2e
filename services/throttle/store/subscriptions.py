"""Consent, one row a person and channel in PostgreSQL."""

from collections.abc import Sequence
from typing import Protocol

from mesh.postgres import Database
from services.throttle.model import Channel, Consent, Subscription


class Asked(Protocol):
    """Whatever names a person and a channel."""

    @property
    def workspace(self) -> str: ...
    @property
    def profile_id(self) -> str: ...
    @property
    def channel(self) -> Channel: ...


# One array comes back instead of a row each, which costs the client a third.
_CONSENTS = """
SELECT array_agg(coalesce(known.state, $4) ORDER BY asked.place)
FROM unnest($1::text[], $2::text[], $3::smallint[])
     WITH ORDINALITY AS asked(workspace, profile_id, channel, place)
LEFT JOIN subscriptions AS known USING (workspace, profile_id, channel)
"""

_SET = """
INSERT INTO subscriptions (workspace, profile_id, channel, state, update_time)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::smallint[], $4::smallint[], $5::timestamptz[])
ON CONFLICT (workspace, profile_id, channel)
DO UPDATE SET state = excluded.state, update_time = excluded.update_time
"""

_OF_PROFILE = """
SELECT channel, state, update_time FROM subscriptions WHERE workspace = $1 AND profile_id = $2
"""


class Subscriptions:
    """Keeps what people said."""

    def __init__(self, database: Database) -> None:
        """Take the service's schema."""
        self._database = database

    async def consents(self, asked: Sequence[Asked]) -> list[Consent]:
        """Return for each what its person said about its channel, as it is now."""
        workspaces = [one.workspace for one in asked]
        profile_ids = [one.profile_id for one in asked]
        channels = [one.channel for one in asked]
        async with self._database.connection() as connection:
            states = await connection.fetchval(
                _CONSENTS, workspaces, profile_ids, channels, Consent.UNDECIDED
            )
        return [_CONSENT_OF[state] for state in states]

    async def of_profile(self, workspace: str, profile_id: str) -> list[Subscription]:
        """Return what a person decided; nothing of channels she never spoke about."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OF_PROFILE, workspace, profile_id)
        return [
            Subscription(
                workspace=workspace,
                profile_id=profile_id,
                channel=Channel(row["channel"]),
                consent=Consent(row["state"]),
                update_time=row["update_time"],
            )
            for row in rows
        ]

    async def set(self, subscriptions: Sequence[Subscription]) -> None:
        """Set all or none; no two may be of one person and channel."""
        # In the order of the key, so that two callers with the same persons cannot
        # wait for each other in a circle.
        ordered = sorted(
            subscriptions, key=lambda one: (one.workspace, one.profile_id, one.channel)
        )
        async with self._database.transaction() as connection:
            await connection.execute(
                _SET,
                [one.workspace for one in ordered],
                [one.profile_id for one in ordered],
                [one.channel for one in ordered],
                [one.consent for one in ordered],
                [one.update_time for one in ordered],
            )


_CONSENT_OF = {consent.value: consent for consent in Consent}
