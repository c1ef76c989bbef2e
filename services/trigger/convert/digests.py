"""Digests: compiled, checked, and as templates see them."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from beckon.trigger.v1.campaign_service_pb2 import Campaign, Digest

from mesh.errors import InvalidArgument, invalid_field
from mesh.names import parse_name
from services.trigger.convert.times import from_duration
from services.trigger.convert.timing import local_time_of
from services.trigger.model import (
    CalendarWindow,
    DigestContent,
    DigestItem,
    DigestPlan,
    FixedWindow,
    Message,
    Occurrence,
    Predicate,
    SlidingWindow,
    UndoRule,
)
from services.trigger.rules import Group, groups_of

Compile = Callable[[str, bool], Predicate | None]
"""Compiles the source of a filter; whether it sees `trigger`."""

# What delivery takes of one message, all in all.
DATA_BYTES_MAX = 192 << 10
_ITEMS = 50
_encoder = msgspec.json.Encoder()


def to_digest(campaign: Campaign, compiled: Compile) -> DigestPlan | None:
    """Return how a campaign gathers; None: it does not."""
    if not campaign.HasField("digest"):
        return None
    digest = campaign.digest
    undo = digest.undo
    return DigestPlan(
        window=_window(digest),
        key_property=digest.key_property,
        urgent=compiled(digest.urgent_filter, False),  # noqa: FBT003 — as told above
        undo=(
            UndoRule(undo.event_type, compiled(undo.filter, True))  # noqa: FBT003
            if digest.HasField("undo")
            else None
        ),
        actor_property=digest.actor_property,
        object_property=digest.object_property,
        items_max=digest.items_max or _ITEMS,
        message=(
            Message(digest.message.channel, parse_name(digest.message.template, "templates")[1])
            if digest.HasField("message")
            else None
        ),
    )


def digest_filters(campaign: Campaign) -> Iterator[tuple[str, str, bool]]:
    """Yield the filters of the digest as those of the campaign are."""
    yield "campaign.digest.urgent_filter", campaign.digest.urgent_filter, False
    yield "campaign.digest.undo.filter", campaign.digest.undo.filter, True


def check_digest(campaign: Campaign) -> None:
    """Raise InvalidArgument, naming the field, unless the digest means something."""
    if not campaign.HasField("digest"):
        return
    for field, there in _other_waits(campaign):
        if there:
            raise _refused(field, "a digest says itself how long it waits")
    digest = campaign.digest
    if digest.WhichOneof("window") is None:
        # An update may have cleared what the schema requires of a whole digest.
        raise _refused("digest.window", "is required")
    sliding = digest.sliding
    if from_duration(sliding.most) < from_duration(sliding.pause):
        raise _refused("digest.sliding.most", "must not be shorter than the pause")
    own = campaign.trigger.event_type
    if any(one.event_type == own for one in campaign.exceptions):
        raise _refused("exceptions", "cannot name the trigger's type: a digest has no restarts")
    if digest.HasField("undo"):
        if digest.undo.event_type == own:
            raise _refused("digest.undo.event_type", "cannot be the trigger's own type")
        if campaign.recipient.HasField("relation"):
            # All of them would have to be gone through to take it out of each digest.
            raise _refused("digest.undo", "not where the recipients are found by a relation")


def _other_waits(campaign: Campaign) -> Iterator[tuple[str, bool]]:
    trigger = campaign.trigger
    yield "wait", campaign.HasField("wait")
    yield "delay", bool(from_duration(campaign.delay))
    yield "trigger.schedule", trigger.HasField("schedule")
    yield "trigger.date", trigger.HasField("date")
    yield "trigger.interaction.ignored_for", trigger.interaction.HasField("ignored_for")
    yield "trigger.region.duration", bool(from_duration(trigger.region.duration))


def digest_json(content: DigestContent, room: int) -> bytes:
    """Return what a template sees of a digest, in at most `room` bytes.

    Of the latest it tells as many as fit; it counts all.
    """
    latest = content.latest
    while True:
        told = DigestContent(content.tallies, latest)
        encoded = _encoder.encode(_digest(told, content.count))
        if len(encoded) <= room or not latest:
            return encoded
        latest = latest[: len(latest) * 3 // 4]


def event_of(event: Occurrence) -> dict[str, Any]:
    """Return an event as templates see it; what came as JSON is passed on as it came."""
    return {
        "id": event.event_id,
        "type": event.type,
        "occur_time": event.occur_time,
        "properties": msgspec.Raw(event.properties_json),
    }


def _digest(content: DigestContent, count: int) -> dict[str, Any]:
    return {
        "count": count,
        "items": [_item(one) for one in content.latest],
        "groups": [_group(one) for one in groups_of(content)],
    }


def _item(one: DigestItem) -> dict[str, Any]:
    return {"event": event_of(one.event), "actor": one.actor, "object": one.object}


def _group(one: Group) -> dict[str, Any]:
    return {
        "object": one.object,
        "count": one.count,
        "actors": [{"id": item.actor, "event": event_of(item.event)} for item in one.actors],
        "actor_count": one.actor_count,
        "other_count": one.other_count,
    }


def _window(digest: Digest) -> FixedWindow | SlidingWindow | CalendarWindow:
    match digest.WhichOneof("window"):
        case "sliding":
            sliding = digest.sliding
            return SlidingWindow(from_duration(sliding.pause), from_duration(sliding.most))
        case "calendar":
            calendar = digest.calendar
            return CalendarWindow(local_time_of(calendar.local_time, calendar.weekdays))
        case _:
            return FixedWindow(from_duration(digest.fixed))


def _refused(field: str, why: str) -> InvalidArgument:
    return invalid_field(f"campaign.{field}", why, reason="digest")
