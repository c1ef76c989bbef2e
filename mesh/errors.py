"""Errors a caller may see: one class a status, each with a reason that programs read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import grpc
import grpc.aio
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

if TYPE_CHECKING:
    # Exists for the type checker only: at run time a reason is an int.
    Reason: TypeAlias = ErrorReason.ValueType
else:
    Reason = int

DOMAIN = "beckon.dev"

_NO_METADATA: Mapping[str, str] = MappingProxyType({})

# HTTP/2 trailers are limited (8 KiB at many proxies and in gRPC itself, which would tell the
# caller of that and not of the error). What callers sent may stand in any text: texts are cut,
# in bytes of UTF-8, and past so many violations the rest is counted, not listed.
_VIOLATIONS_MAX = 25
_VIOLATIONS_BYTES_MAX = 3000
_MESSAGE_BYTES_MAX = 800
_TEXT_BYTES_MAX = 400


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    field: str
    """Path from the request, `events[3].profile`."""
    description: str
    reason: str = ""
    """Identifier of the broken rule, for programs."""


class MeshError(Exception):
    """The question could not be answered, and the caller is told why.

    Only `mesh.interceptors.errors` turns it into a status. Everything variable
    in the message is in the metadata too, so that nobody parses the message.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] = _NO_METADATA,
        violations: Sequence[FieldViolation] = (),
        retry_delay: timedelta | None = None,
    ) -> None:
        """Take the reason, a sentence in lower case, and what programs need."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.violations = tuple(violations)
        self.retry_delay = retry_delay


class InvalidArgument(MeshError):
    """The request can never succeed."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(MeshError):
    """The named resource is not there."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(MeshError):
    """The id is taken, or was used for other content."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(MeshError):
    """The resource is in the wrong state; someone must act first."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(MeshError):
    """Another writer was faster; redo the whole read-modify-write."""

    code = grpc.StatusCode.ABORTED


class ResourceExhausted(MeshError):
    """A limit of ours is reached; wait as told."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class PermissionDenied(MeshError):
    """We know the caller, and the caller may not."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(MeshError):
    """We do not know the caller."""

    code = grpc.StatusCode.UNAUTHENTICATED


class Unavailable(MeshError):
    """A dependency is away; the same call may be repeated."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(MeshError):
    """Too little time is left."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Internal(MeshError):
    """A bug of ours."""

    code = grpc.StatusCode.INTERNAL


def to_rpc_status(error: MeshError) -> Status:
    """Return the error as `google.rpc.Status`, for one record of a batch."""
    code: int = error.code.value[0]
    status = Status(code=code, message=_cut(error.message, _MESSAGE_BYTES_MAX))
    status.details.add().Pack(
        ErrorInfo(
            reason=ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_"),
            domain=DOMAIN,
            metadata={key: _cut(value) for key, value in error.metadata.items()},
        )
    )
    if error.violations:
        status.details.add().Pack(_bad_request(error.violations))
    if error.retry_delay is not None:
        delay = Duration()
        delay.FromTimedelta(error.retry_delay)
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return status


def to_status(error: MeshError) -> grpc.Status:
    """Return the error as what `abort_with_status` takes."""
    return rpc_status.to_status(to_rpc_status(error))


def from_rpc_error(error: grpc.aio.AioRpcError, *, dependency: str) -> MeshError:
    """Return what a peer's refusal means for our own caller.

    A peer that is away, slow or overloaded makes us unavailable, and a lost race
    stays one. Any other refusal means that we asked wrongly: a bug of ours. So does a
    message that is too large, which would be so again.
    """
    if error.code() is grpc.StatusCode.ABORTED:
        return Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")
    if error.code() in _PEER_IS_AWAY and not _too_large(error):
        return unavailable(dependency)
    return Internal(
        ErrorReason.ERROR_REASON_INTERNAL,
        f"{dependency} refused our call with {error.code().name}",
        metadata={"errorId": ""},
    )


def as_told(error: grpc.aio.AioRpcError) -> MeshError | None:
    """Return a peer's refusal as it was told, for who asks what callers have written.

    None: not a refusal of what was asked for.
    """
    kind = _REFUSALS.get(error.code())
    name = f"ERROR_REASON_{reason_of(error)}"
    if kind is None or name not in ErrorReason.keys():  # noqa: SIM118 — no mapping
        return None
    return kind(
        ErrorReason.Value(name),
        error.details() or "",
        metadata=metadata_of(error),
        violations=violations_of(error),
    )


def unavailable(dependency: str) -> Unavailable:
    """Return the error that says `dependency` is away."""
    return Unavailable(
        ErrorReason.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
        f"{dependency} is not available",
        metadata={"dependency": dependency},
    )


def invalid_field(field: str, description: str, *, reason: str = "") -> InvalidArgument:
    """Return the error for one bad field."""
    return InvalidArgument(
        ErrorReason.ERROR_REASON_FIELD_INVALID,
        f"{field}: {description}",
        violations=[FieldViolation(field, description, reason)],
    )


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason that a refusal carries, '' when it carries none."""
    status = _status_of(error)
    for detail in status.details if status is not None else ():
        info = ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


def violations_of(error: grpc.aio.AioRpcError) -> list[FieldViolation]:
    """Return the bad fields that a refusal names."""
    status = _status_of(error)
    found: list[FieldViolation] = []
    for detail in status.details if status is not None else ():
        bad = BadRequest()
        if detail.Unpack(bad):
            found += (
                FieldViolation(one.field, one.description, one.reason)
                for one in bad.field_violations
            )
    return found


def metadata_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Return the metadata of the reason that a refusal carries."""
    status = _status_of(error)
    for detail in status.details if status is not None else ():
        info = ErrorInfo()
        if detail.Unpack(info):
            return dict(info.metadata)
    return {}


_REFUSALS = {kind.code: kind for kind in (InvalidArgument, NotFound, FailedPrecondition)}
_PEER_IS_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)


def _too_large(error: grpc.aio.AioRpcError) -> bool:
    # gRPC has the code in common with overload, and says it in words only.
    too_much = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return too_much and "larger than max" in (error.details() or "")


def _status_of(error: grpc.aio.AioRpcError) -> Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return Status.FromString(value)
    return None


def _bad_request(violations: Sequence[FieldViolation]) -> BadRequest:
    bad = BadRequest()
    for one in violations[:_VIOLATIONS_MAX]:
        bad.field_violations.add(
            field=_cut(one.field), description=_cut(one.description), reason=one.reason
        )
        if bad.ByteSize() > _VIOLATIONS_BYTES_MAX:
            del bad.field_violations[-1]
            break
    rest = len(violations) - len(bad.field_violations)
    if rest > 0:
        bad.field_violations.add(description=f"and {rest} more")
    return bad


def _cut(text: str, bytes_max: int = _TEXT_BYTES_MAX) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= bytes_max:
        return text
    return encoded[: bytes_max - 3].decode("utf-8", "ignore") + "…"
