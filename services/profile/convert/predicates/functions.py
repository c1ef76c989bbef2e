# ruff: noqa: S608 — put together from constants and slots: no value is in the text
"""The functions of filters in SQL: what she did of late, whom she follows, how she is reached."""

_DAY_US = 86_400_000_000
# As in counting: what came later than this counts for nothing.
_LATE_US = 30 * _DAY_US
# As of devices: not registered for so long, a token is not used.
_STALE_US = 30 * _DAY_US
# An event may be received before it occurs, by a clock that goes wrong.
_EARLY_US = _DAY_US

# As in traits: what is larger is no number. Without a bound a few of 131,072 digits, which is what
# JSON and PostgreSQL take, come to more than PostgreSQL takes, and every turn about her fails.
_SUMMAND_MAX = 10**18

WINDOW_MAX_US = 366 * _DAY_US
CHANNELS = ("email", "push", "sms")

MEMBERS = "CASE WHEN p.member_ids = '{}' THEN ARRAY[p.profile_id] ELSE p.member_ids END"
"""All ids of the person."""


def _window(kind: str, window: str) -> str:
    """Return what chooses the events of a type within a window up to now."""
    return (
        f"FROM history AS h WHERE h.workspace = p.workspace AND h.profile_id = ANY ({MEMBERS})"
        f" AND h.type = {kind} AND h.receive_us > {{now}} - {window} - {_EARLY_US}"
        f" AND h.receive_us - h.occur_us <= {_LATE_US}"
        f" AND h.occur_us > {{now}} - {window}"
    )


def event_count(kind: str, window: str) -> str:
    """Return SQL for how many events of a type occurred within the window."""
    return f"(SELECT count(*)::numeric {_window(kind, window)} AND h.occur_us <= {{now}})"


def event_sum(kind: str, key: str, window: str) -> str:
    """Return SQL for the sum of a property of theirs; what is no number adds nothing."""
    number = f"cel_number(h.properties -> {key})"
    return (
        f"(SELECT coalesce(sum(CASE WHEN abs({number}) <= {_SUMMAND_MAX} THEN {number} END), 0)"
        f" {_window(kind, window)} AND h.occur_us <= {{now}})"
    )


def window_due(kind: str, window: str) -> str:
    """Return SQL for when the first event leaves the window, or one of tomorrow enters it."""
    return (
        f"(SELECT min(CASE WHEN h.occur_us > {{now}} THEN h.occur_us"
        f" ELSE h.occur_us + {window} END) {_window(kind, window)})"
    )


def has_relation(kind: str, other: str) -> str:
    """Return SQL for whether there is an edge to somebody, whatever of her ids it names."""
    return (
        f"EXISTS (SELECT FROM relations AS e WHERE e.workspace = p.workspace"
        f" AND e.from_member = ANY ({MEMBERS}) AND e.kind = {kind}"
        f" AND e.to_member = ANY (ids_of(p.workspace, {other})))"
    )


def relation_count(kind: str) -> str:
    """Return SQL for to how many there is an edge."""
    return (
        f"(SELECT count(DISTINCT e.to_member)::numeric FROM relations AS e"
        f" WHERE e.workspace = p.workspace AND e.from_member = ANY ({MEMBERS})"
        f" AND e.kind = {kind})"
    )


def reachable(channel: str) -> tuple[str, str]:
    """Return SQL for whether a channel leads to the person, and for when that ends by itself."""
    if channel != "push":
        return ("(p.email <> '')" if channel == "email" else "(p.phone <> '')"), ""
    devices = (
        "FROM devices AS d WHERE d.workspace = p.workspace AND d.person_id = p.profile_id"
        f" AND d.state = 1 AND d.seen_us > {{now}} - {_STALE_US}"
    )
    return f"EXISTS (SELECT {devices})", f"(SELECT max(d.seen_us) + {_STALE_US} {devices})"
