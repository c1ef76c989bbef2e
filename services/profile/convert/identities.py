"""Merges on the wire, and what the log is told of them."""

import json
from collections.abc import Sequence
from uuid import UUID

from beckon.profile.v1 import identity_service_pb2 as pb

from mesh.errors import invalid_field
from mesh.names import format_name
from services.profile.convert.moments import micros
from services.profile.model import DerivedEvent
from services.profile.model.persons import Edge, Person, Union

PROFILE_MERGED = "profile_merged"
PROFILE_UNMERGED = "profile_unmerged"


def merge(edge: Edge) -> pb.Merge:
    """Return the edge as callers see it."""
    message = pb.Merge(
        name=merge_name(edge),
        state=pb.Merge.State.ValueType(edge.state),
        origin=pb.Merge.Origin.ValueType(edge.origin),
        reason=edge.reason,
        into=format_name(edge.workspace, "profiles", edge.into_id),
    )
    # A keyword of Python.
    setattr(message, "from", format_name(edge.workspace, "profiles", edge.from_id))
    message.create_time.FromDatetime(edge.create_time)
    if edge.undo_time is not None:
        message.undo_time.FromDatetime(edge.undo_time)
    return message


def merge_name(edge: Edge) -> str:
    """Return the name of the merge."""
    return format_name(edge.workspace, "merges", str(edge.merge_id))


def merge_id(text: str) -> UUID:
    """Return the id of a merge.

    Raises:
        InvalidArgument: It can be none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise invalid_field("name", "must end with a UUID") from None


def told_united(union: Union) -> DerivedEvent:
    """Return what the log is told of two people who became one."""
    edge, person = union.edge, union.person
    properties = {
        "merge": str(edge.merge_id),
        "into": person.key[1],
        "member_ids": person.ids,
        "moved_ids": union.moved_ids,
        "version": person.profile.version,
    }
    return DerivedEvent(
        edge.workspace,
        person.key[1],
        f"merged-{edge.merge_id}",
        PROFILE_MERGED,
        micros(edge.create_time),
        json.dumps(properties),
    )


def told_parted(edge: Edge, people: Sequence[Person], at_us: int) -> list[DerivedEvent]:
    """Return what the log is told of each person that is left of one."""
    return [
        DerivedEvent(
            edge.workspace,
            person.key[1],
            f"unmerged-{edge.merge_id}-{at}",
            PROFILE_UNMERGED,
            at_us,
            json.dumps(
                {
                    "merge": str(edge.merge_id),
                    "member_ids": person.ids,
                    "version": person.profile.version,
                }
            ),
        )
        for at, person in enumerate(people)
    ]
