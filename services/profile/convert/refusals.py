"""Refusals out: why a change of a person does not stand, and who is not there."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted, FailedPrecondition, MeshError, NotFound
from mesh.names import format_name
from services.profile.convert.attributes import refusal
from services.profile.model import PersonKey, Refused
from services.profile.model.patches import Erased, Stale


def error_of(refused: Refused | Stale | Erased, key: PersonKey) -> MeshError:
    """Return the error that says why the change of this person does not stand."""
    match refused:
        case Refused():
            return refusal(refused)
        case Stale():
            name = format_name(key[0], "profiles", key[1])
            return Aborted(
                ErrorReason.ERROR_REASON_ETAG_MISMATCH,
                f"{name} has changed since it was read",
                metadata={"resourceName": name},
            )
        case Erased(erasure_id):
            erasure = format_name(key[0], "erasures", str(erasure_id))
            return FailedPrecondition(
                ErrorReason.ERROR_REASON_PERSON_ERASED,
                f"the profile was erased and is refused for a while: {erasure}",
                metadata={"erasure": erasure},
            )


def not_found(key: PersonKey) -> NotFound:
    """Return the error that says that there is no such profile."""
    name = format_name(key[0], "profiles", key[1])
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such profile: {name}",
        metadata={"resourceName": name},
    )
