"""Holds every request message to the rules in its schema."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import protovalidate
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.protobuf.message import Message

from mesh.errors import FieldViolation, InvalidArgument
from mesh.interceptors.middleware import Call, Middleware


def violations_of(message: Message) -> list[FieldViolation]:
    """Return what the schema's rules find wrong with the message."""
    return [
        FieldViolation(
            field=_path_of(violation),
            description=violation.proto.message or "is not valid",
            reason=violation.proto.rule_id or "",
        )
        for violation in protovalidate.collect_violations(message)
    ]


def check_message(message: Message) -> None:
    """Raise InvalidArgument with one violation a field when the message breaks a rule."""
    violations = violations_of(message)
    if violations:
        first = violations[0]
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_FIELD_INVALID,
            f"{first.field or 'request'}: {first.description}",
            violations=violations,
        )


def validate(*, self_validating: frozenset[str] = frozenset()) -> Middleware:
    """Return the middleware; `self_validating` names methods that check for themselves.

    Those are hot: their own check says the same for a twentieth of the time.
    """

    @asynccontextmanager
    async def validate_call(call: Call) -> AsyncIterator[None]:
        if call.method not in self_validating:
            call.checks.append(check_message)
        yield

    return validate_call


def _path_of(violation: protovalidate.Violation) -> str:
    path = violation.proto.field
    text = ""
    for element in path.elements if path is not None else ():
        text += f".{element.field_name}" if text else element.field_name
        subscript = element.subscript
        if subscript is not None:
            value = subscript.value
            text += f'["{value}"]' if isinstance(value, str) else f"[{value}]"
    return text
