"""Log records in, as `ObserveEvents` takes them; bad events are set aside, never raised."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1 import event_pb2
from beckon.profile.v1 import observation_service_pb2 as pb
from xxhash import xxh3_64_intdigest

from mesh.errors import FieldViolation, InvalidArgument, invalid_field
from mesh.ids import event_uids
from mesh.names import ID_PATTERN, RESOURCE_ID_PATTERN
from services.profile.convert.tokens import Token, parse_token
from services.profile.model import DAY_US, Event, Refused

RECORDS_MAX = 1000
EVENTS_MAX = 4000
# Positions are short in every log we know; this bounds a key column.
POSITION_CHARACTERS_MAX = 128

# 2000-01-01 and 9999-12-30: what the door takes, and what can, a day ahead, be a timestamp.
_EARLIEST_US = 946_684_800_000_000
_LATEST_US = 253_402_128_000_000_000

# One match for three ids is cheaper than three: the line ends cannot be part of any.
_IDS = re.compile(rf"{ID_PATTERN}\n[a-z][a-z0-9_]{{0,62}}\n{ID_PATTERN}")
_ID = re.compile(ID_PATTERN)
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_WORKSPACE = re.compile(RESOURCE_ID_PATTERN)
_NO_TOKENS: Mapping[Event, Token] = MappingProxyType({})
# Half of the range of the hash: the column is signed.
_SIGN = 1 << 63

_FORGOTTEN = Refused("receive_time_us", "was received longer ago than history is kept")


class Place(NamedTuple):
    """Where a record stands; says which week it belongs to as well."""

    receive_us: int
    log_partition: int
    log_position: str


class Record(NamedTuple):
    """One log record taken apart."""

    place: Place
    first_index: int
    """Index of its first event among all of the request."""
    size: int
    events: list[Event]
    """Those that can be looked at."""
    refused: Mapping[int, Refused]
    """The others, by their index in the record."""
    tokens: Mapping[Event, Token] = _NO_TOKENS
    """Of those events that must not be judged with less than their token stands for."""


def records(request: pb.ObserveEventsRequest) -> list[Record]:
    """Take the request apart.

    Raises:
        InvalidArgument: The request breaks its own bounds. A record that does is
            no reason: it was acknowledged, and must be told event by event.
    """
    _check_limit(len(request.records), RECORDS_MAX, "records")
    _check_limit(sum(len(each.record.events) for each in request.records), EVENTS_MAX, "events")
    taken: list[Record] = []
    index = 0
    for each in request.records:
        if not 0 < len(each.position) <= POSITION_CHARACTERS_MAX or "\0" in each.position:
            raise invalid_field("records.position", "must have 1 to 128 characters")
        if each.partition < 0:
            raise invalid_field("records.partition", "must not be negative")
        taken.append(_record(each, index))
        index += len(each.record.events)
    if len({record.place for record in taken}) < len(taken):
        raise invalid_field("records", "must not repeat a position")
    return taken


def without_forgotten(taken: Iterable[Record], *, oldest_us: int) -> list[Record]:
    """Return the records, with every event refused of those that were received before `oldest_us`.

    Their week of the history is gone: nothing can tell any more whether they were counted.
    """
    return [
        record
        if record.place.receive_us >= oldest_us
        else Record(
            record.place,
            record.first_index,
            record.size,
            [],
            dict.fromkeys(range(record.size), _FORGOTTEN),
        )
        for record in taken
    ]


def _check_limit(got: int, limit: int, what: str) -> None:
    if got > limit:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_BATCH_TOO_LARGE,
            f"{got} {what}, at most {limit} in a call",
            metadata={"limit": str(limit), "got": str(got)},
            violations=[FieldViolation("records", f"at most {limit} {what}")],
        )


def _record(observed: pb.ObservedRecord, first_index: int) -> Record:
    record = observed.record
    place = Place(record.receive_time_us, observed.partition, observed.position)
    size = len(record.events)
    bad = _bad_record(record)
    if bad is not None:
        # Of a time outside the calendar there is no week either: it is only answered.
        return Record(place, first_index, size, [], dict.fromkeys(range(size), bad))
    events: list[Event] = []
    refused: dict[int, Refused] = {}
    tokens: dict[Event, Token] = {}
    prefix = f"workspaces/{record.workspace}/profiles/"
    uids = event_uids(record.workspace, [event.event_id for event in record.events])
    for index, (event, uid) in enumerate(zip(record.events, uids, strict=True)):
        made = _event(event, uid, index, place, prefix, record)
        if isinstance(made, Refused):
            refused[index] = made
            continue
        if event.consistency_token:
            token = _token(event.consistency_token)
            if token is None:
                refused[index] = Refused("consistency_token", "is not one of ours")
                continue
            tokens[made] = token
        events.append(made)
    return Record(place, first_index, size, events, refused, tokens)


def _token(text: str) -> Token | None:
    try:
        return parse_token(text)
    except InvalidArgument:
        return None


def _bad_record(record: event_pb2.LogRecord) -> Refused | None:
    if not _WORKSPACE.fullmatch(record.workspace):
        return Refused("workspace", "must be a workspace id")
    if not _EARLIEST_US <= record.receive_time_us <= _LATEST_US:
        return Refused("receive_time_us", "must lie between the years 2000 and 9999")
    return None


def _event(
    event: event_pb2.Event,
    uid: UUID,
    index: int,
    place: Place,
    prefix: str,
    record: event_pb2.LogRecord,
) -> Event | Refused:
    event_id, kind, name, content = event.event_id, event.type, event.profile, event.properties_json
    profile_id = name[len(prefix) :]
    if not name.startswith(prefix) or not _IDS.fullmatch(f"{event_id}\n{kind}\n{profile_id}"):
        return _bad_ids(event_id, kind, name, prefix)
    try:
        properties = content.decode()
    except UnicodeDecodeError:
        return Refused("properties_json", "must be UTF-8")
    if not properties:
        if event.WhichOneof("properties_form") == "properties":
            return Refused("properties", "must have been made properties_json at the door")
        properties = "{}"
    elif not properties.lstrip(" \t\r\n").startswith("{") or "\0" in properties:
        return Refused("properties_json", "must be a JSON object")
    occurred = _occurred(event, place.receive_us, record.clock_offset_us)
    if isinstance(occurred, Refused):
        return occurred
    occur_us, told = occurred
    fingerprint = xxh3_64_intdigest(b"\0".join((kind.encode(), name.encode(), told, content)))
    return Event(
        place.receive_us,
        occur_us,
        fingerprint - _SIGN,
        uid,
        place.log_partition,
        index,
        record.workspace,
        profile_id,
        event_id,
        kind,
        place.log_position,
        properties,
    )


def _occurred(
    event: event_pb2.Event, receive_us: int, offset_us: int
) -> tuple[int, bytes] | Refused:
    """Return when it occurred, and what of that belongs to the content of the event.

    As claimed: a repeat may come with another correction and is the same event. One
    that claims nothing occurred when it was received, and its repeat is received later.
    """
    if not event.HasField("occur_time"):
        return receive_us, b""
    time = event.occur_time
    claimed_us = time.seconds * 1_000_000 + time.nanos // 1000
    if claimed_us == receive_us:
        # The door may have written the time of receipt in; no caller's clock is that good.
        return receive_us, b""
    occur_us = claimed_us + offset_us
    if not _EARLIEST_US <= occur_us <= receive_us + DAY_US:
        return Refused("occur_time", "must lie between 2000-01-01 and a day after it was received")
    return occur_us, b"%d" % claimed_us


def _bad_ids(event_id: str, kind: str, name: str, prefix: str) -> Refused:
    if not _ID.fullmatch(event_id):
        return Refused("event_id", "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ @ + : = -")
    if not _TYPE.fullmatch(kind):
        return Refused("type", "must be snake_case, 1 to 63 characters")
    if not name.startswith(prefix):
        return Refused("profile", f"must begin with {prefix}, the workspace of its record")
    return Refused("profile", "must end with a profile id")
