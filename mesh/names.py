"""Resource names: `workspaces/{workspace}/{collection}/{id}`, parsed and put together."""

import re

from mesh.errors import InvalidArgument, invalid_field

# No '/', no NUL, ASCII only: safe in a name, a key of Redis and a log line.
ID_PATTERN = r"[A-Za-z0-9._~@+:=-]{1,128}"
"""Ids that come from outside (profiles, events) or are derived (deliveries)."""

RESOURCE_ID_PATTERN = r"[a-z][a-z0-9-]{0,62}"
"""Ids that people choose: workspaces, campaigns, templates, caps."""

_ID = re.compile(ID_PATTERN)
_RESOURCE_ID = re.compile(RESOURCE_ID_PATTERN)
_WORKSPACE = re.compile(rf"workspaces/({RESOURCE_ID_PATTERN})(?:/.*)?", re.DOTALL)


def workspace_of(name: str, *, field: str = "name") -> str:
    """Return `w` of `workspaces/w` or `workspaces/w/...`."""
    match = _WORKSPACE.fullmatch(name)
    if match is None:
        raise _bad_name(field, "workspaces/{workspace}/...")
    return match[1]


def format_name(workspace: str, collection: str, identifier: str) -> str:
    """Return `workspaces/{workspace}/{collection}/{identifier}`."""
    return f"workspaces/{workspace}/{collection}/{identifier}"


def parse_name(name: str, collection: str, *, field: str = "name") -> tuple[str, str]:
    """Return workspace and id of a name in `collection`."""
    parts = name.split("/")
    if (
        len(parts) == 4  # noqa: PLR2004 — the four parts of workspaces/w/collection/id
        and parts[0] == "workspaces"
        and parts[2] == collection
        and _RESOURCE_ID.fullmatch(parts[1])
        and _ID.fullmatch(parts[3])
    ):
        return parts[1], parts[3]
    raise _bad_name(field, f"workspaces/{{workspace}}/{collection}/{{id}}")


def parse_child(
    name: str, collection: str, children: str, *, field: str = "name"
) -> tuple[str, str, str]:
    """Return workspace, id and child id of `workspaces/w/{collection}/id/{children}/child`."""
    parent, _, last = name.rpartition("/")
    parent, _, middle = parent.rpartition("/")
    if middle == children and _ID.fullmatch(last):
        try:
            return (*parse_name(parent, collection), last)
        except InvalidArgument:
            pass
    raise _bad_name(field, f"workspaces/{{workspace}}/{collection}/{{id}}/{children}/{{id}}")


def check_id(identifier: str, *, field: str) -> str:
    """Return the id unchanged when it is one that may come from outside."""
    if _ID.fullmatch(identifier) is None:
        raise invalid_field(
            field, "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ @ + : = -", reason="id"
        )
    return identifier


def check_resource_id(identifier: str, *, field: str) -> str:
    """Return the id unchanged when it is one that people may choose."""
    if _RESOURCE_ID.fullmatch(identifier) is None:
        raise invalid_field(
            field,
            "must be 1 to 63 characters of a-z 0-9 -, beginning with a letter",
            reason="resource_id",
        )
    return identifier


def _bad_name(field: str, form: str) -> InvalidArgument:
    return invalid_field(field, f"must have the form {form}", reason="name")
