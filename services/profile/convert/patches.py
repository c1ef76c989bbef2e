"""Patches in, what became of each out."""

from collections.abc import Sequence

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import profile_service_pb2 as pb

from mesh.errors import FieldViolation, InvalidArgument, invalid_field, to_rpc_status
from mesh.interceptors.validate import check_message
from mesh.names import parse_name, workspace_of
from services.profile.convert.profiles import operations
from services.profile.convert.refusals import error_of
from services.profile.convert.tokens import token
from services.profile.model import PersonKey, Refused
from services.profile.model.patches import Done, Patched
from services.profile.rules.patching import Patch

PATCHES_MAX = 1000
_ETAG_CHARACTERS_MAX = 64


def read(request: pb.PatchProfilesRequest) -> tuple[str, list[Patch]]:
    """Return the workspace, and the patches in their order; a bad one is one that is refused.

    Raises:
        InvalidArgument: What is bad is no single patch.
    """
    got = len(request.patches)
    if not 1 <= got <= PATCHES_MAX:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_BATCH_TOO_LARGE,
            f"{got} patches, 1 to {PATCHES_MAX} in a call",
            metadata={"limit": str(PATCHES_MAX), "got": str(got)},
            violations=[FieldViolation("patches", f"must be 1 to {PATCHES_MAX}")],
        )
    # What the schema says of patches is looked at one by one, that each may fall alone.
    without = pb.PatchProfilesRequest(parent=request.parent, request_id=request.request_id)
    without.patches.add(profile=f"{request.parent}/profiles/any")
    check_message(without)
    workspace = workspace_of(request.parent, field="parent")
    return workspace, [_patch(patch, workspace) for patch in request.patches]


def keys(patches: Sequence[Patch]) -> set[str]:
    """Return the attributes that patches may write."""
    found: set[str] = set()
    for one in patches:
        wanted = one.operations
        if not isinstance(wanted, Refused):
            found.update(wanted.write, wanted.set_once, wanted.increment, wanted.append)
    return found


def response(patches: Sequence[Patch], patched: Patched) -> pb.PatchProfilesResponse:
    """Return what became of each patch."""
    message = pb.PatchProfilesResponse()
    tokens: dict[PersonKey, str] = {}
    for index, outcome in enumerate(patched.outcomes):
        if not isinstance(outcome, Done):
            status = to_rpc_status(error_of(outcome, patches[index].key))
            message.failed_patches[index].CopyFrom(status)
            continue
        if outcome.created:
            message.created_count += 1
        elif outcome.changed:
            message.updated_count += 1
        else:
            message.unchanged_count += 1
        name = outcome.person
        if name not in tokens:
            tokens[name] = token(name, patched.people[name].profile.version)
        message.consistency_tokens[index] = tokens[name]
    return message


def _patch(patch: pb.ProfilePatch, workspace: str) -> Patch:
    key = workspace, ""
    try:
        key = _key(patch, workspace)
        return Patch(key, operations(patch), patch.etag)
    except InvalidArgument as error:
        violation = error.violations[0]
        return Patch(key, Refused(violation.field, violation.description))


def _key(patch: pb.ProfilePatch, workspace: str) -> PersonKey:
    key = parse_name(patch.profile, "profiles", field="profile")
    if key[0] != workspace:
        raise invalid_field("profile", f"must be of workspaces/{workspace}")
    if len(patch.etag) > _ETAG_CHARACTERS_MAX:
        raise invalid_field("etag", f"must have at most {_ETAG_CHARACTERS_MAX} characters")
    return key
