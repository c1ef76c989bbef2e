"""Attributes of a workspace, in and out."""

from datetime import datetime

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import attribute_service_pb2 as pb

from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted, invalid_field
from mesh.names import format_name
from services.profile.model import Refused
from services.profile.model.attributes import (
    ATTRIBUTES_MAX,
    AttributeType,
    TooManyAttributes,
    TypeConflict,
)


def refusal(refused: Refused) -> MeshError:
    """Return the error that says why facts cannot be written."""
    match refused:
        case TypeConflict():
            return FailedPrecondition(
                ErrorReason.ERROR_REASON_ATTRIBUTE_TYPE_CONFLICT,
                f"{refused.field}: {refused.description}",
                metadata={
                    "attribute": refused.attribute,
                    "type": refused.type.name,
                    "got": refused.got.name,
                },
            )
        case TooManyAttributes():
            return ResourceExhausted(
                ErrorReason.ERROR_REASON_LIMIT_REACHED,
                refused.description,
                metadata={"collection": "attributes", "limit": str(ATTRIBUTES_MAX)},
            )
        case _:
            return invalid_field(refused.field, refused.description)


def attribute(workspace: str, key: str, kind: AttributeType, create_time: datetime) -> pb.Attribute:
    """Return an attribute as callers see it."""
    message = pb.Attribute(
        name=format_name(workspace, "attributes", key), type=pb.Attribute.Type.ValueType(kind)
    )
    message.create_time.FromDatetime(create_time)
    return message


def parse_name(name: str, *, field: str) -> tuple[str, str]:
    """Return workspace and key; a key may hold what no id may."""
    parts = name.split("/")
    if len(parts) == 4 and parts[0] == "workspaces" and parts[2] == "attributes" and parts[3]:
        return parts[1], parts[3]
    raise invalid_field(field, "must have the form workspaces/{workspace}/attributes/{attribute}")
