"""What `identify` events say: which ids are one person, and what is known of her."""

import json
import re
from collections.abc import Collection
from datetime import datetime
from uuid import NAMESPACE_OID, uuid5

from services.profile.model import Event, Refused
from services.profile.model.persons import (
    MEMBERS_MAX,
    Claim,
    Edge,
    EdgeOrigin,
    EdgeState,
    Person,
)
from services.profile.rules.objects import NotAnObject, split
from services.profile.rules.operations import Naming, Operations, operations

CLAIMS_MAX = 10

NAMING = Naming("properties.attributes.", "properties.attributes.$", "properties.attributes")

SHARED = "belongs to somebody else: a shared device"
TOO_MANY = f"the profile would have more than {MEMBERS_MAX} ids"

_ID = re.compile(r"[A-Za-z0-9._~@+:=-]{1,128}")
_KEYS = ("anonymous_id", "alias")


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
    content = split(event.properties).get("attributes", "{}")
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
    # Of a refusal there is one for each pair, however often the device is used.
    pair = uuid5(NAMESPACE_OID, f"{event.workspace}/{claim.member_id}/{event.profile_id}")
    return Edge(
        event.workspace,
        pair if refusal else uuid5(event.event_uid, claim.member_id),
        claim.member_id,
        event.profile_id,
        EdgeState.REFUSED if refusal else EdgeState.LIVE,
        EdgeOrigin.IDENTIFY,
        refusal,
        now,
    )


def _ids(content: str) -> Collection[str] | None:
    value = json.loads(content)
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if len(ids) > CLAIMS_MAX:
        return None
    if not all(isinstance(one, str) and _ID.fullmatch(one) for one in ids):
        return None
    return ids
