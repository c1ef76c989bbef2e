"""`ObserveEventsRequest` put together from records as they lie in the log.

They were serialized by ingest and are read here anyway; serializing them a second
time would cost more than all else that is done for an event that begins nothing.
"""

from collections.abc import Sequence

_VARINT_BITS = 7
_MORE = 0x80

# Field numbers and wire types of ObserveEventsRequest and ObservedRecord.
_RECORDS = b"\x0a"
_STANDING_TYPES = b"\x12"
_PARTITION = b"\x08"
_POSITION = b"\x12"
_RECORD = b"\x1a"


def observe_request(
    records: Sequence[tuple[int, str, bytes]], standing_types: Sequence[str]
) -> bytes:
    """Return the serialized request for (partition, position, serialized LogRecord)."""
    parts: list[bytes] = []
    for partition, position, record in records:
        place = position.encode()
        head = b"".join(
            (
                _PARTITION + varint(partition) if partition else b"",
                _POSITION + varint(len(place)) + place if place else b"",
                _RECORD,
                varint(len(record)),
            )
        )
        parts += (_RECORDS, varint(len(head) + len(record)), head, record)
    for type_ in standing_types:
        name = type_.encode()
        parts += (_STANDING_TYPES, varint(len(name)), name)
    return b"".join(parts)


def varint(number: int) -> bytes:
    """Return a number in base 128, the lowest digits first."""
    digits = bytearray()
    while number >= _MORE:
        digits.append(number & (_MORE - 1) | _MORE)
        number >>= _VARINT_BITS
    digits.append(number)
    return bytes(digits)
