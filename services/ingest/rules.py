"""Decides, for a batch of events, which come in. Pure; columns first, events only to explain."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from services.ingest.model import Admission, Columns, Fault, Violation

# The same bounds stand as annotations in event.proto; a test holds the two equal.
EVENT_ID = re.compile(r"[A-Za-z0-9._~@+:=-]{1,128}")
EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")
PROFILE_ID = r"[A-Za-z0-9._~@+:=-]{1,128}"
# 2000-01-01T00:00:00Z: before it, a clock was never set.
EARLIEST_SECONDS = 946_684_800
# Clocks run ahead by minutes, time zones by hours; more is a mistake.
FUTURE_SECONDS = 86_400
NANOS_MAX = 999_999_999
PROPERTIES_BYTES_MAX = 32_768
TOKEN_CHARACTERS_MAX = 128
# What the mesh tells itself through the log: taken on trust further down.
RESERVED_TYPES = frozenset(
    {
        "profile_merged",
        "profile_unmerged",
        "profile_erased",
        "segment_entered",
        "segment_exited",
        "attribute_changed",
        "condition_entered",
        "condition_exited",
        # Never in the log: what trigger makes of reports of locations.
        "region_entered",
        "region_exited",
    }
)
PROPERTIES_DEPTH_MAX = 32


def admit(
    columns: Columns,
    *,
    parent: str,
    now: datetime,
    fingerprints: Sequence[bytes],
    known: Sequence[bytes | None],
    may_derive: bool = False,
) -> Admission:
    """Return what becomes of each event.

    Only who `may_derive` writes events of reserved types.

    `known` holds the fingerprint under which an event's id is remembered, if it
    is. Of two events with one id in the batch the first counts. A refused event
    never makes another one a duplicate.
    """
    refused = check(columns, parent=parent, now=now, may_derive=may_derive)
    if not refused and not any(known) and len(set(columns.event_ids)) == len(columns):
        return Admission(fresh=range(len(columns)), duplicates=(), refused={})
    fresh: list[int] = []
    duplicates: list[int] = []
    reused: dict[int, Sequence[Violation]] = {}
    seen: dict[str, bytes] = {}
    for index, event_id in enumerate(columns.event_ids):
        if index in refused:
            continue
        before = known[index] or seen.get(event_id)
        if before is None:
            seen[event_id] = fingerprints[index]
            fresh.append(index)
        elif before == fingerprints[index]:
            duplicates.append(index)
        else:
            reused[index] = (_REUSED,)
    return Admission(fresh=fresh, duplicates=duplicates, refused={**refused, **reused})


def check(
    columns: Columns, *, parent: str, now: datetime, may_derive: bool = False
) -> Mapping[int, Sequence[Violation]]:
    """Return the violations of each bad event by index; empty when all are well."""
    latest = int(now.timestamp()) + FUTURE_SECONDS
    reserved = frozenset() if may_derive else RESERVED_TYPES
    if _all_well(columns, parent, latest) and reserved.isdisjoint(columns.types):
        return {}
    found = (
        (index, tuple(_violations(columns, index, parent, latest, reserved)))
        for index in range(len(columns))
    )
    return {index: violations for index, violations in found if violations}


def may_be(seconds: int, now: datetime) -> bool:
    """Say whether a caller's clock can show that time."""
    return EARLIEST_SECONDS <= seconds <= int(now.timestamp()) + FUTURE_SECONDS


def _all_well(columns: Columns, parent: str, latest: int) -> bool:
    # Each line looks at one field of all events in one pass of C code.
    return (
        not columns.property_faults
        and all(len(token) <= TOKEN_CHARACTERS_MAX for token in columns.tokens.values())
        and all(map(EVENT_ID.fullmatch, columns.event_ids))
        and all(map(EVENT_TYPE.fullmatch, set(columns.types)))
        and all(map(profile_pattern(parent).fullmatch, columns.profiles))
        and max(columns.seconds) <= latest
        and min(columns.nanos) >= 0
        and max(columns.nanos) <= NANOS_MAX
        and max(map(len, columns.properties)) <= PROPERTIES_BYTES_MAX
        and (min(columns.seconds) >= EARLIEST_SECONDS or _times_well(columns))
    )


def _times_well(columns: Columns) -> bool:
    # 0 says that the caller gave no time.
    return all(not second or second >= EARLIEST_SECONDS for second in columns.seconds)


def _violations(
    columns: Columns, index: int, parent: str, latest: int, reserved: frozenset[str]
) -> Iterator[Violation]:
    if EVENT_ID.fullmatch(columns.event_ids[index]) is None:
        yield _BAD_EVENT_ID
    if EVENT_TYPE.fullmatch(columns.types[index]) is None:
        yield _BAD_TYPE
    elif columns.types[index] in reserved:
        yield _RESERVED
    if profile_pattern(parent).fullmatch(columns.profiles[index]) is None:
        description = (
            f"must be {parent}/profiles/{{profile}}, with 1 to 128 characters of"
            " A-Z a-z 0-9 . _ ~ @ + : = -"
        )
        yield Violation("profile", "string.pattern", description)
    second = columns.seconds[index]
    if (second and second < EARLIEST_SECONDS) or second > latest:
        yield _BAD_TIME
    if not 0 <= columns.nanos[index] <= NANOS_MAX:
        yield _BAD_NANOS
    if len(columns.properties[index]) > PROPERTIES_BYTES_MAX:
        yield _TOO_LARGE
    if fault := columns.property_faults.get(index):
        yield fault
    if len(columns.tokens.get(index, "")) > TOKEN_CHARACTERS_MAX:
        yield _LONG_TOKEN


@lru_cache(maxsize=4096)
def profile_pattern(parent: str) -> re.Pattern[str]:
    """Return what the profile names of a workspace look like."""
    return re.compile(f"{re.escape(parent)}/profiles/{PROFILE_ID}")


_BAD_EVENT_ID = Violation(
    "event_id", "string.pattern", "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ @ + : = -"
)
_BAD_TYPE = Violation(
    "type",
    "string.pattern",
    "must be 1 to 63 characters of a-z 0-9 _, beginning with a letter: order_placed",
)
_RESERVED = Violation(
    "type",
    "type.reserved",
    "is written by the mesh alone; callers choose another name",
    Fault.TYPE_RESERVED,
)
_LONG_TOKEN = Violation(
    "consistency_token",
    "string.max_len",
    f"must have at most {TOKEN_CHARACTERS_MAX} characters, as profile gave it",
)
BAD_TIME = "must lie between 2000-01-01 and one day ahead of now"
_BAD_TIME = Violation("occur_time", "timestamp.range", BAD_TIME)
_BAD_NANOS = Violation("occur_time", "timestamp.nanos", "nanos must be 0 to 999,999,999")
_TOO_LARGE = Violation(
    "properties",
    "bytes.max_len",
    f"must be at most {PROPERTIES_BYTES_MAX:,} bytes of JSON",
    Fault.TOO_LARGE,
)
_REUSED = Violation(
    "event_id",
    "event_id.reused",
    "was used before for an event of other content; an id is for one event",
    Fault.ID_REUSED,
)
