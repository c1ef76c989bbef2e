"""Traits on the wire and in rows: definitions, states, values."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import trait_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from mesh.errors import FieldViolation, InvalidArgument
from mesh.names import format_name, parse_name
from services.profile.model.traits import (
    QUARTER_US,
    STREAKS,
    Aggregate,
    Calendar,
    Declared,
    Latest,
    Number,
    Rolling,
    State,
    Trait,
    Value,
    Window,
)

_MICROS = 1_000_000
_HOUR_US = 3600 * _MICROS
_DAY_US = 24 * _HOUR_US
ROLLING_US_MIN = _HOUR_US
ROLLING_US_MAX = 31 * _DAY_US

_ENCODER = msgspec.msgpack.Encoder()
_NUMBERS: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(dict[int, Decimal])
_DAYS: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(list[tuple[int, int]])
_DECODERS: Mapping[Aggregate, msgspec.msgpack.Decoder[State]] = {
    Aggregate.COUNT: msgspec.msgpack.Decoder(dict[int, int]),
    Aggregate.SUM: _NUMBERS,
    Aggregate.MIN: _NUMBERS,
    Aggregate.MAX: _NUMBERS,
    Aggregate.LAST: msgspec.msgpack.Decoder(dict[int, Latest]),
    Aggregate.DISTINCT: msgspec.msgpack.Decoder(dict[int, frozenset[int]]),
    Aggregate.STREAK: _DAYS,
    Aggregate.LONGEST_STREAK: _DAYS,
}
_VALUES = msgspec.json.Decoder(dict[str, msgspec.Raw])


def encode_state(state: State) -> bytes:
    """Return the state as it is kept."""
    return _ENCODER.encode(state)


def decode_state(trait: Trait, content: bytes) -> State:
    """Return the state of a trait as it was kept."""
    return _DECODERS[trait.aggregate].decode(content)


def revise_values(
    values: str, revised: Mapping[Trait, Value], *, whole: bool
) -> tuple[str, frozenset[str]]:
    """Return the JSON object with these values in it, and the keys that changed.

    With `whole` there are no others in it afterwards.
    """
    before = _VALUES.decode(values)
    after = {} if whole else dict(before)
    for trait, value in revised.items():
        keys = [(trait.trait_id, value.number), (previous_id(trait.trait_id), value.previous)]
        for key, number in keys if trait.compare else keys[:1]:
            after.pop(key, None)
            if number is not None:
                after[key] = msgspec.Raw(_text(number).encode())
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    return msgspec.json.encode(after).decode(), frozenset(changed)


def previous_id(trait_id: str) -> str:
    """Return what the value of the window before is called."""
    return f"{trait_id}_previous"


def _text(number: Number) -> str:
    return str(number) if isinstance(number, int) else format(number, "f")


def declared(message: pb.Trait) -> Trait:
    """Return the trait that a caller declares.

    Raises:
        InvalidArgument: With every field that does not fit the others.
    """
    violations = list(_violations(message))
    if violations:
        first = violations[0]
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_FIELD_INVALID,
            f"{first.field} {first.description}",
            violations=violations,
        )
    workspace, trait_id = parse_name(message.name, "traits", field="trait.name")
    return Trait(
        workspace=workspace,
        trait_id=trait_id,
        event_type=message.event_type,
        aggregate=Aggregate(message.aggregate),
        property=message.property,
        filter=message.filter,
        window=_window_of(message),
        compare=message.compare,
        backfill=message.backfill,
        backfilling=message.backfill,
    )


def trait(found: Declared) -> pb.Trait:
    """Return a trait as callers see it."""
    one = found.trait
    message = pb.Trait(
        name=format_name(one.workspace, "traits", one.trait_id),
        event_type=one.event_type,
        aggregate=pb.Trait.Aggregate.ValueType(one.aggregate),
        property=one.property,
        filter=one.filter,
        compare=one.compare,
        backfill=one.backfill,
        state=pb.Trait.STATE_BACKFILLING if one.backfilling else pb.Trait.STATE_ACTIVE,
        backfill_progress=found.progress,
    )
    if isinstance(one.window, Rolling):
        message.rolling.FromMicroseconds(one.window.span_us)
    elif one.window is not None:
        message.calendar = pb.Trait.Calendar.ValueType(one.window)
    message.create_time.FromDatetime(found.create_time)
    return message


def _violations(message: pb.Trait) -> Iterable[FieldViolation]:
    aggregate = Aggregate(message.aggregate)
    needs_none = aggregate is Aggregate.COUNT or aggregate in STREAKS
    if needs_none and message.property:
        yield _violation("property", f"is not read by {aggregate.name}")
    if not needs_none and not message.property:
        yield _violation("property", f"is required for {aggregate.name}")
    window = message.WhichOneof("window")
    if window is not None and aggregate in STREAKS:
        yield _violation(window, f"{aggregate.name} has no window")
    if window is None and message.compare:
        yield _violation("compare", "needs a window")
    if window == "calendar" and not message.calendar:
        yield _violation("calendar", "must be a day, a week or a month")
    if window == "rolling" and not _rolls(_micros(message.rolling)):
        yield _violation("rolling", "must be 1 h to 31 d, in whole quarters of an hour")


def _violation(field: str, description: str) -> FieldViolation:
    return FieldViolation(f"trait.{field}", description, "trait")


def _rolls(span_us: int) -> bool:
    return ROLLING_US_MIN <= span_us <= ROLLING_US_MAX and span_us % QUARTER_US == 0


def _window_of(message: pb.Trait) -> Window | None:
    match message.WhichOneof("window"):
        case "rolling":
            return Rolling(_micros(message.rolling))
        case "calendar":
            return Calendar(message.calendar)
        case _:
            return None


def _micros(span: Duration) -> int:
    # What is finer than a microsecond is no whole quarter either.
    return span.seconds * _MICROS + -(-span.nanos // 1000)
