"""That profile can tell whom a message is for."""

from beckon.profile.v1.watch_service_pb2 import StreamAudienceRequest
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.errors import FieldViolation, InvalidArgument
from mesh.names import format_name
from services.trigger.clients import Profile

# Nobody is looked for, so anybody does.
_ANYBODY = "anybody"


async def require_audience(profile: Profile, workspace: str, campaign: Campaign) -> None:
    """Raise InvalidArgument, naming the field, unless profile can look for whom a filter means.

    Only profile knows which filters it can: it looks for people in its own tables.

    Raises:
        Unavailable: Profile is away.
    """
    request = StreamAudienceRequest(parent=f"workspaces/{workspace}", validate_only=True)
    audience, relation = campaign.trigger.schedule.audience, campaign.recipient.relation
    if audience.filter:
        field, request.filter = "campaign.trigger.schedule.audience.filter", audience.filter
    elif relation.filter:
        field, related = "campaign.recipient.relation.filter", request.related
        related.profile = format_name(workspace, "profiles", _ANYBODY)
        related.kind, related.filter = relation.kind, relation.filter
    else:
        return
    try:
        async for _ in profile.audience(request):
            return
    except InvalidArgument as error:
        what = error.violations[0].description if error.violations else error.message
        raise InvalidArgument(
            error.reason,
            f"{field}: {what}",
            metadata=error.metadata,
            violations=[FieldViolation(field, what, "cel")],
        ) from None
