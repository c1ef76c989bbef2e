"""Patches in, what became of each out."""

from collections.abc import Sequence

from beckon.profile.v1 import profile_service_pb2 as pb

from mesh.errors import InvalidArgument, invalid_field, to_rpc_status
from mesh.names import parse_name
from services.profile.convert.profiles import operations
from services.profile.convert.refusals import error_of
from services.profile.convert.tokens import token
from services.profile.model import PersonKey, Refused
from services.profile.model.patches import Done, Patched
from services.profile.rules.patching import Patch


def read(request: pb.PatchProfilesRequest, workspace: str) -> list[Patch]:
    """Return the patches in their order.

    Raises:
        InvalidArgument: One is of somebody of another workspace.
    """
    return [_patch(patch, workspace) for patch in request.patches]


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
    key = parse_name(patch.profile, "profiles", field="patches.profile")
    if key[0] != workspace:
        raise invalid_field("patches.profile", f"must be of workspaces/{workspace}")
    try:
        return Patch(key, operations(patch), patch.etag)
    except InvalidArgument as error:
        violation = error.violations[0]
        return Patch(key, Refused(violation.field, violation.description))
