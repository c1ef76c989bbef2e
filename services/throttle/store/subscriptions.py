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


# What a united person said: no under any id is no. The parts are put in by name.
_PERSONS = """
SELECT CASE WHEN bool_or(said.state = {unsubscribed}) THEN {unsubscribed}
            WHEN bool_or(said.state = {subscribed}) THEN {subscribed} END
FROM identities AS one
JOIN subscriptions AS said
    ON said.workspace = one.workspace AND said.profile_id = one.member_id
WHERE one.workspace = person.workspace AND one.profile_id = person.profile_id
  AND said.channel = {channel}
"""
# Arrays come back instead of a row each, which costs the client a third.
_CONSENTS = f"""
SELECT array_agg(coalesce(CASE WHEN person.profile_id IS NULL THEN known.state ELSE (
        {_PERSONS.format(unsubscribed=2, subscribed=1, channel="asked.channel")}
    ) END, $4) ORDER BY asked.place) AS states,
    array_agg(person.profile_id ORDER BY asked.place) FILTER (WHERE person.profile_id IS NOT NULL)
        AS persons,
    array_agg(asked.place ORDER BY asked.place) FILTER (WHERE person.profile_id IS NOT NULL)
        AS places
FROM unnest($1::text[], $2::text[], $3::smallint[])
     WITH ORDINALITY AS asked(workspace, profile_id, channel, place)
LEFT JOIN identities AS person
    ON person.workspace = asked.workspace AND person.member_id = asked.profile_id
LEFT JOIN subscriptions AS known
    ON known.workspace = asked.workspace AND known.profile_id = asked.profile_id
    AND known.channel = asked.channel
"""  # noqa: S608 — constants of ours

# What a united person says she says under all her ids; of two answers the later one holds. Written
# in the order of the key, so that two callers with the same persons cannot wait for each other in a
# circle.
_SET = """
INSERT INTO subscriptions (workspace, profile_id, channel, state, update_time)
SELECT DISTINCT ON (1, 2, 3) said.workspace, coalesce(one.member_id, said.profile_id),
    said.channel, said.state, said.update_time
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::smallint[], $5::timestamptz[])
     WITH ORDINALITY AS said (workspace, profile_id, channel, state, update_time, place)
LEFT JOIN identities AS person
    ON person.workspace = said.workspace AND person.member_id = said.profile_id
LEFT JOIN identities AS one
    ON one.workspace = person.workspace AND one.profile_id = person.profile_id
ORDER BY 1, 2, 3, said.place DESC
ON CONFLICT (workspace, profile_id, channel)
DO UPDATE SET state = excluded.state, update_time = excluded.update_time
"""

_OF_PROFILE = """
WITH ids AS (
    SELECT $2::text AS id UNION
    SELECT one.member_id FROM identities AS asked
    JOIN identities AS one
        ON one.workspace = asked.workspace AND one.profile_id = asked.profile_id
    WHERE asked.workspace = $1 AND asked.member_id = $2
)
SELECT channel, state, update_time FROM subscriptions JOIN ids ON profile_id = id
WHERE workspace = $1
"""


class Subscriptions:
    """Keeps what people said."""

    def __init__(self, database: Database) -> None:
        """Take the service's schema."""
        self._database = database

    async def consents(self, asked: Sequence[Asked]) -> tuple[list[Consent], dict[int, str]]:
        """Return for each what its person said about its channel, as it is now.

        And, by place, under which id the person goes, of those that are united with others.
        """
        workspaces = [one.workspace for one in asked]
        profile_ids = [one.profile_id for one in asked]
        channels = [one.channel for one in asked]
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _CONSENTS, workspaces, profile_ids, channels, Consent.UNDECIDED
            )
        assert row is not None
        persons = {
            place - 1: person
            for place, person in zip(row["places"] or (), row["persons"] or (), strict=True)
        }
        return [_CONSENT_OF[state] for state in row["states"]], persons

    async def of_profile(self, workspace: str, profile_id: str) -> list[Subscription]:
        """Return what a person said under each of her ids; nothing of other channels."""
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
        """Set all or none, each for all ids of its person; of two of one person the later holds."""
        async with self._database.connection() as connection:
            await connection.execute(
                _SET,
                [one.workspace for one in subscriptions],
                [one.profile_id for one in subscriptions],
                [one.channel for one in subscriptions],
                [one.consent for one in subscriptions],
                [one.update_time for one in subscriptions],
            )


_CONSENT_OF = {consent.value: consent for consent in Consent}
