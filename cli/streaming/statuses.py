"""Reads the statuses that services give single records of a batch."""

from dataclasses import dataclass

from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status


@dataclass(frozen=True, slots=True)
class Why:
    """Why a record was refused."""

    reason: str
    message: str
    where: str
    """The field that is wrong; '' where the service does not say."""


def why(status: Status) -> Why:
    """Return what a status says."""
    reason, where, messages = "", "", []
    for detail in status.details:
        info, bad = ErrorInfo(), BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            messages = [f"{one.field}: {one.description}" for one in bad.field_violations]
            where = bad.field_violations[0].field if bad.field_violations else ""
    return Why(reason, "; ".join(messages) or status.message, where)
