"""Receipts of erasures, in and out."""

from datetime import datetime
from uuid import UUID

from beckon.profile.v1 import erasure_service_pb2 as pb

from mesh.errors import invalid_field
from mesh.names import format_name, parse_name
from services.profile.model.erasures import Erasure, Removal


def name(text: str) -> tuple[str, UUID]:
    """Return workspace and id of an erasure."""
    workspace, identifier = parse_name(text, "erasures")
    try:
        return workspace, UUID(identifier)
    except ValueError:
        raise invalid_field("name", "must end with a UUID") from None


def removal(message: pb.Erasure.Removal, now: datetime) -> Removal:
    """Return what a service says that it has removed."""
    return Removal(message.service, dict(message.counts), now)


def erasure(receipt: Erasure) -> pb.Erasure:
    """Return the receipt as callers see it; one that was only counted has no name."""
    done = receipt.complete_time is not None
    message = pb.Erasure(
        state=pb.Erasure.STATE_COMPLETE if done else pb.Erasure.STATE_RUNNING,
        refused_event_count=receipt.refused_event_count,
        reason=receipt.reason,
    )
    if receipt.erasure_id is not None:
        message.name = format_name(receipt.workspace, "erasures", str(receipt.erasure_id))
    for one in receipt.removals:
        shown = message.removals.add(service=one.service, counts=one.counts)
        shown.remove_time.FromDatetime(one.remove_time)
    message.create_time.FromDatetime(receipt.create_time)
    message.refuse_until_time.FromDatetime(receipt.refuse_until)
    if receipt.complete_time is not None:
        message.complete_time.FromDatetime(receipt.complete_time)
    return message
