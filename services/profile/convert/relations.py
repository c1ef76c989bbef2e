"""Edges in and out."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from beckon.profile.v1 import relation_service_pb2 as pb
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from mesh.errors import InvalidArgument, MeshError, invalid_field
from mesh.names import format_name, parse_name
from mesh.structs import whole_numbers
from services.profile.model import PersonKey
from services.profile.model.relations import Edge, Put, Related
from services.profile.rules.relations import ATTRIBUTES_BYTES_MAX

_KIND = re.compile(r"[a-z][a-z0-9_]{0,62}")
# U+0000, which jsonb does not hold, but not a backslash before "u0000".
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Puts(NamedTuple):
    """Edges of a request, taken apart."""

    puts: dict[int, Put]
    """By index in the request."""
    refused: dict[int, MeshError]
    """The others."""


def puts(workspace: str, relations: Sequence[pb.Relation]) -> Puts:
    """Return the edges to write; those that cannot be are set aside, each with its reason."""
    taken, refused = dict[int, Put](), dict[int, MeshError]()
    for index, relation in enumerate(relations):
        path = f"relations[{index}]"
        try:
            one = edge(workspace, relation, path)
            taken[index] = Put(one, _attributes(relation.attributes, f"{path}.attributes"))
        except InvalidArgument as error:
            refused[index] = error
    return Puts(taken, refused)


def edge(workspace: str, relation: pb.Relation, path: str) -> Edge:
    """Return the edge without what is known of it.

    Raises:
        InvalidArgument: It is not one of the workspace, or has no kind.
    """
    # `from` is a keyword of Python.
    from_id = _end(workspace, getattr(relation, "from"), f"{path}.from")
    if not _KIND.fullmatch(relation.kind):
        raise invalid_field(f"{path}.kind", "must be snake_case, 1 to 63 characters")
    return Edge(from_id, relation.kind, _end(workspace, relation.to, f"{path}.to"))


def relation(person: PersonKey, one: Related, *, incoming: bool) -> pb.Relation:
    """Return an edge of the person as callers see it."""
    here = format_name(*_profile(person))
    there = format_name(*_profile((person[0], one.profile_id)))
    message = pb.Relation(kind=one.kind, to=here if incoming else there)
    setattr(message, "from", there if incoming else here)
    _fill(message.attributes, one.attributes)
    message.create_time.FromDatetime(one.create_time)
    message.update_time.FromDatetime(one.update_time)
    return message


def related(workspace: str, found: Iterable[Related], cursor: str) -> pb.StreamRelatedResponse:
    """Return some of a stream, and from where it goes on."""
    prefix = format_name(workspace, "profiles", "")
    response = pb.StreamRelatedResponse(cursor=cursor)
    add = response.items.add
    for one in found:
        item = add(profile=prefix + one.profile_id)
        if one.attributes != "{}":
            _fill(item.attributes, one.attributes)
    return response


def _profile(person: PersonKey) -> tuple[str, str, str]:
    return person[0], "profiles", person[1]


def _end(workspace: str, name: str, field: str) -> str:
    of, profile_id = parse_name(name, "profiles", field=field)
    if of != workspace:
        raise invalid_field(field, f"must be of workspaces/{workspace}")
    return profile_id


def _attributes(struct: Struct, field: str) -> str:
    if not struct.fields:
        return "{}"
    try:
        text = json.dumps(whole_numbers(MessageToDict(struct)), allow_nan=False)
    except ValueError:
        raise invalid_field(field, "must hold numbers that JSON has") from None
    if len(text.encode()) > ATTRIBUTES_BYTES_MAX:
        raise invalid_field(field, f"must have at most {ATTRIBUTES_BYTES_MAX} bytes as JSON")
    if _NUL.search(text):
        raise invalid_field(field, "must not hold U+0000")
    return text


def _fill(struct: Struct, text: str) -> None:
    if text != "{}":
        struct.update(json.loads(text))
