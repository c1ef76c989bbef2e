"""Which trace a piece of work belongs to: W3C `traceparent` and ids that follow from the work."""

import re
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8

# Keeps trace ids apart from whatever else is ever hashed out of an event's uid.
_TRACE_PERSON = b"beckon trace"
_NO_TRACE = "0" * 2 * TRACE_ID_BYTES
_NO_SPAN = "0" * 2 * SPAN_ID_BYTES
_SAMPLED = 0x01
# Version 00 ends after the flags; later versions may go on after one more dash.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """Where work stands in a trace. A tuple, because one is made for every event."""

    trace_id: bytes
    """16 bytes."""
    parent_span_id: bytes | None
    """8 bytes; None at the root."""
    sampled: bool
    """Whether work that leads to nothing is to be recorded as well."""


def parse_traceparent(value: str) -> TraceContext | None:
    """Read a `traceparent` of W3C Trace Context level 1; what is malformed counts as absent."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace, parent, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace == _NO_TRACE or parent == _NO_SPAN:
        return None
    return TraceContext(
        bytes.fromhex(trace), bytes.fromhex(parent), bool(int(flags, 16) & _SAMPLED)
    )


def format_traceparent(trace_id: bytes, parent_span_id: bytes, *, sampled: bool) -> str:
    """Write what `parse_traceparent` reads."""
    return f"00-{trace_id.hex()}-{parent_span_id.hex()}-{'01' if sampled else '00'}"


def derive_trace_id(event_uid: UUID) -> bytes:
    """Return the trace id of an event whose caller named none.

    A hash, not the uid itself: a UUID's version and variant bits would make every sampler that
    goes by the trace id, ours and those of collectors, take all events or none.
    """
    return blake2b(event_uid.bytes, digest_size=TRACE_ID_BYTES, person=_TRACE_PERSON).digest()


def span_id(trace_id: bytes, stage: str, subject: bytes) -> bytes:
    """Return the id of the span of a stage of the work on a subject.

    It follows from the arguments: repeated work writes the same span again, and every process can
    name another's span as a parent without being told.
    """
    # No stage holds a NUL and trace ids have one length, so that no two arguments meet.
    return blake2b(trace_id + stage.encode() + b"\0" + subject, digest_size=SPAN_ID_BYTES).digest()
