"""What profile is to watch for the campaigns of a workspace."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1.watch_service_pb2 import SetWatchesRequest
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.errors import ResourceExhausted
from services.trigger.convert.beginnings import (
    Condition,
    attributes_of,
    conditions_of,
    to_beginning,
)
from services.trigger.model import StoredCampaign

_CONDITIONS_MAX = 200
_ATTRIBUTES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Watches:
    """All that is to be watched in a workspace."""

    attributes: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def digest(self) -> str:
        """Tells them from others; '' for nothing at all."""
        return sha256(repr(self).encode()).hexdigest() if self != NOTHING else ""


NOTHING = Watches()


def to_watches(campaigns: Iterable[StoredCampaign]) -> Watches:
    """Return what is to be watched for the campaigns of one workspace.

    Raises:
        ResourceExhausted: That is more than a workspace may watch.
    """
    found = [to_beginning(one.campaign, Campaign.FromString(one.spec)) for one in campaigns]
    beginnings = [one for one in found if one is not None]
    watches = Watches(tuple(attributes_of(beginnings)), tuple(conditions_of(beginnings)))
    for what, count, most in (
        ("conditions", len(watches.conditions), _CONDITIONS_MAX),
        ("attributes", len(watches.attributes), _ATTRIBUTES_MAX),
    ):
        if count > most:
            raise ResourceExhausted(
                ErrorReason.ERROR_REASON_LIMIT_REACHED,
                f"the campaigns in force may begin with {most} {what} at most",
                metadata={"collection": what, "limit": str(most)},
            )
    return watches


def watches_request(workspace: str, version: int, watches: Watches) -> SetWatchesRequest:
    """Return what profile is told."""
    return SetWatchesRequest(
        parent=f"workspaces/{workspace}",
        version=version,
        attributes=watches.attributes,
        conditions=[
            SetWatchesRequest.Condition(id=one.id, filter=one.filter) for one in watches.conditions
        ],
    )
