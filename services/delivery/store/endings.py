"""The part of a statement that tells peers what ended, in the same transaction."""

from services.delivery.model import Peer, State

# States that end a delivery; peers hear of each.
ENDED = ", ".join(
    str(int(state))
    for state in (State.SENT, State.FAILED, State.UNKNOWN, State.CANCELED, State.EXPIRED)
)


def announce(source: str, now: str, relay_until: str) -> str:
    """Return a CTE that writes what ended in `source` to the outbox, a row for each peer.

    The rows belong to this process's relay until `relay_until`.
    """
    return f"""
    announced AS (
        INSERT INTO outbox (peer, due_time, create_time, delivery_ids, rounds, states, channels,
                            workspaces, profiles, campaigns)
        SELECT peers.peer, {relay_until}, {now}, ended.delivery_ids, ended.rounds, ended.states,
               ended.channels, ended.workspaces, ended.profiles, ended.campaigns
        FROM (
            SELECT array_agg(delivery_id) AS delivery_ids, array_agg(round) AS rounds,
                   array_agg(state) AS states, array_agg(channel) AS channels,
                   array_agg(workspace) AS workspaces, array_agg(profile) AS profiles,
                   array_agg(campaign) AS campaigns
            FROM {source} WHERE state IN ({ENDED})
            HAVING count(*) > 0
        ) AS ended
        CROSS JOIN (VALUES ({int(Peer.THROTTLE)}), ({int(Peer.INGEST)})) AS peers (peer)
        RETURNING outbox_id, peer, create_time, delivery_ids, rounds, states, channels, workspaces,
                  profiles, campaigns
    )"""  # noqa: S608 — names and numbers of ours
