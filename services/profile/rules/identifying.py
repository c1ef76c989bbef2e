"""What `identify` events say: which ids are one person, and what is known of her."""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import NAMESPACE_OID, UUID, uuid5

from services.profile.model import DAY_US, Event, PersonKey, Refused
from services.profile.model.persons import (
    IDENTIFY,
    MEMBERS_MAX,
    Claim,
    Edge,
    EdgeOrigin,
    EdgeState,
    Person,
)
from services.profile.rules.objects import NotAnObject, split
from services.profile.rules.operations import Naming, Operations, operations

# What occurred longer ago goes to the history and changes nothing: statistics that
# somebody has read must not move for ever.
LATE_US = 30 * DAY_US

CLAIMS_MAX = 10

NAMING = Naming("properties.attributes.", "properties.attributes.$", "properties.attributes")

SHARED = "belongs to somebody else: a shared device"
TOO_MANY = f"the profile would have more than {MEMBERS_MAX} ids"

_ID = re.compile(r"[A-Za-z0-9._~@+:=-]{1,128}")
_KEYS = ("anonymous_id", "alias")


@dataclass(frozen=True, slots=True)
class Identified:
    """What the `identify` events of a turn say, and what must be known to believe it."""

    claims: dict[Event, tuple[Claim, ...]] = field(default_factory=dict)
    refused: dict[Event, Refused] = field(default_factory=dict)
    """Events that cannot be understood."""
    people: set[PersonKey] = field(default_factory=set)
    """Ids that are claimed."""
    edges: set[tuple[str, UUID]] = field(default_factory=set)
    """Edges that may be made: those that were made before are not made again."""

    def without(self, erased: Collection[PersonKey]) -> dict[Event, tuple[Claim, ...]]:
        """Return the claims of ids that are nobody's who was erased."""
        if not erased:
            return self.claims
        return {
            event: tuple(one for one in claims if (event.workspace, one.member_id) not in erased)
            for event, claims in self.claims.items()
        }


def identify(events: Iterable[Event]) -> Identified:
    """Read the `identify` events among these; late ones change nothing and say nothing."""
    said = Identified()
    for event in events:
        if event.type != IDENTIFY or is_late(event):
            continue
        claims = claims_of(event)
        if isinstance(claims, Refused):
            said.refused[event] = claims
        elif claims:
            said.claims[event] = claims
            said.people.update((event.workspace, one.member_id) for one in claims)
            said.edges.update((event.workspace, _edge_id(event, one)) for one in claims)
            said.edges.update((event.workspace, _refusal_id(event, one)) for one in claims)
    return said


def is_late(event: Event) -> bool:
    """Return whether the event goes to the history and changes nothing."""
    return event.receive_us - event.occur_us > LATE_US


def claims_of(event: Event) -> tuple[Claim, ...] | Refused:
    """Return which ids an `identify` event claims for its profile, each once, not its own."""
    try:
        properties = split(event.properties)
    except NotAnObject as error:
        return Refused("properties", f"must be a JSON object: {error}")
    claimed: dict[str, Claim] = {}
    for key in _KEYS:
        ids = _ids(properties.get(key, "null"))
        if ids is None:
            return Refused(f"properties.{key}", f"must be an id or a list of at most {CLAIMS_MAX}")
        for one in ids:
            # Who calls it an alias as well means an alias.
            claimed[one] = Claim(one, alias=key == "alias")
    claimed.pop(event.profile_id, None)
    return tuple(claimed.values())


def attributes_of(event: Event) -> Operations | Refused:
    """Return what an `identify` event asks to be done to the attributes."""
    try:
        content = split(event.properties).get("attributes", "{}")
    except NotAnObject as error:
        return Refused("properties", f"must be a JSON object: {error}")
    wanted = operations("{}" if content == "null" else content)
    if isinstance(wanted, Refused):
        return Refused(wanted.field.replace("properties", NAMING.whole, 1), wanted.description)
    return wanted


def edge_of(event: Event, claim: Claim, into: Person, other: Person, now: datetime) -> Edge:
    """Return the edge that a claim makes between two people, live or refused.

    An anonymous id that is somebody else's already was left on a device that two people
    use: uniting the two would show one what the other did.
    """
    refusal = ""
    if not claim.alias and len(other.ids) > 1:
        refusal = SHARED
    elif len(into.ids) + len(other.ids) > MEMBERS_MAX:
        refusal = TOO_MANY
    return Edge(
        event.workspace,
        _refusal_id(event, claim) if refusal else _edge_id(event, claim),
        claim.member_id,
        event.profile_id,
        EdgeState.REFUSED if refusal else EdgeState.LIVE,
        EdgeOrigin.IDENTIFY,
        refusal,
        now,
    )


def _edge_id(event: Event, claim: Claim) -> UUID:
    # Derived: the same event makes the same edge, whoever asks how often.
    return uuid5(event.event_uid, claim.member_id)


def _refusal_id(event: Event, claim: Claim) -> UUID:
    # One for each pair, however often the device is used.
    return uuid5(NAMESPACE_OID, f"{event.workspace}/{claim.member_id}/{event.profile_id}")


def _ids(content: str) -> Collection[str] | None:
    # As floats: an integer of thousands of digits, which is no id either, cannot be read.
    value = json.loads(content, parse_int=float)
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if len(ids) > CLAIMS_MAX:
        return None
    if not all(isinstance(one, str) and _ID.fullmatch(one) for one in ids):
        return None
    return ids
