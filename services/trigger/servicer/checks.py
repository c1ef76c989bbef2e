"""What the schema of a campaign cannot say: expressions compile, times fit, names belong."""

from beckon.trigger.v1.campaign_service_pb2 import Campaign, Message
from beckon.type.v1.channel_pb2 import Channel

from mesh.errors import FieldViolation, InvalidArgument, invalid_field
from mesh.expressions import compile_expression, try_cost
from mesh.names import parse_name, workspace_of
from services.trigger.convert.beginnings import check_beginning
from services.trigger.convert.campaigns import filters_of
from services.trigger.convert.digests import check_digest
from services.trigger.convert.goals import check_goals
from services.trigger.convert.regions import check_crossing
from services.trigger.convert.schedules import check_audience
from services.trigger.convert.times import from_timestamp
from services.trigger.convert.timing import check_timing
from services.trigger.convert.variants import check_variants, variant_messages

# The schema knows more ways to reach people than delivery has providers for.
_PROVIDED = frozenset({Channel.CHANNEL_EMAIL, Channel.CHANNEL_WEBHOOK})


def check_campaign(campaign: Campaign, workspace: str) -> None:
    """Raise InvalidArgument, naming the field, unless the campaign can be judged with."""
    for field in ("trigger", "message"):
        # An update may have cleared what the schema requires of a whole campaign.
        if not campaign.HasField(field):
            raise invalid_field(f"campaign.{field}", "is required", reason="required")
    check_variants(campaign)
    check_goals(campaign)
    for field, message in (("campaign.message", campaign.message), *variant_messages(campaign)):
        _check_message(field, message, workspace)
    check_crossing(campaign, workspace)
    check_audience(campaign, workspace)
    _check_times(campaign)
    check_timing(campaign)
    check_beginning(campaign, workspace)
    check_digest(campaign)
    if campaign.digest.HasField("message"):
        _check_message("campaign.digest.message", campaign.digest.message, workspace)
    if campaign.HasField("recipient") and campaign.exceptions:
        own = [one for one in campaign.exceptions if one.event_type == campaign.trigger.event_type]
        if own:
            # Exceptions are events of the recipient, triggers of somebody else: nothing to restart.
            raise invalid_field(
                "campaign.exceptions",
                "cannot name the trigger's type when the recipient is another profile",
                reason="recipient",
            )
    for field, source, with_trigger in filters_of(campaign):
        if source:
            _check_filter(field, source, with_trigger=with_trigger)


def _check_message(field: str, message: Message, workspace: str) -> None:
    if message.channel not in _PROVIDED:
        word = Channel.Name(message.channel).removeprefix("CHANNEL_").lower()
        raise invalid_field(f"{field}.channel", f"no provider for {word} yet", reason="provider")
    if workspace_of(message.template, field=f"{field}.template") != workspace:
        raise invalid_field(
            f"{field}.template", "must be of the campaign's workspace", reason="workspace"
        )
    parse_name(message.template, "templates", field=f"{field}.template")


def _check_times(campaign: Campaign) -> None:
    for field in ("start_time", "end_time"):
        if campaign.HasField(field):
            try:
                from_timestamp(getattr(campaign, field))
            except OverflowError:
                raise invalid_field(
                    f"campaign.{field}", "must be from the years 1 to 9999", reason="timestamp"
                ) from None
    bounded = campaign.HasField("start_time") and campaign.HasField("end_time")
    if bounded and from_timestamp(campaign.end_time) <= from_timestamp(campaign.start_time):
        raise invalid_field("campaign.end_time", "must be after start_time", reason="order")


def _check_filter(field: str, source: str, *, with_trigger: bool) -> None:
    try:
        try_cost(compile_expression(source, with_trigger=with_trigger))
    except InvalidArgument as error:
        raise InvalidArgument(
            error.reason,
            f"{field}: {error.message}",
            metadata=error.metadata,
            violations=[FieldViolation(field, error.message, "cel")],
        ) from None
