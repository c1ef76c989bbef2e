"""`beckon campaigns`: looking at campaigns and moving them through their states."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.durations import format_duration
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.campaign_service_pb2 import Campaign
    from beckon.trigger.v1.campaign_service_pb2_grpc import CampaignServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Campaigns: which message follows which event.")

CampaignArgument = Annotated[str, typer.Argument(help="Id or name.")]


async def _stub(session: Session) -> "CampaignServiceAsyncStub":
    from beckon.trigger.v1.campaign_service_pb2_grpc import CampaignServiceStub

    return CampaignServiceStub(await session.channel("trigger"))


@command(app, "list", examples="beckon campaigns list --all")
async def list_(
    session: Session,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Archived ones, too.")] = False,
    limit: Limit = None,
) -> None:
    """List campaigns by id."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    states = [
        pb.Campaign.STATE_DRAFT,
        pb.Campaign.STATE_ACTIVE,
        pb.Campaign.STATE_PAUSED,
        pb.Campaign.STATE_ARCHIVED,
    ]
    request = pb.ListCampaignsRequest(parent=session.parent, states=states if everything else [])
    lines = Lines(session.output, ("CAMPAIGN", "STATE", "TRIGGER", "DELAY", "CHANNEL", "VERSION"))
    async for page in pages(
        stub.ListCampaigns, request, lambda found: found.campaigns, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("no campaigns; `beckon apply -f examples/campaigns` brings some")


@command(app, "get", examples="beckon campaigns get abandoned-cart -o json")
async def get(session: Session, campaign: CampaignArgument) -> None:
    """Show one campaign."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("campaigns", campaign)
    _show(session, await stub.GetCampaign(pb.GetCampaignRequest(name=name)))


@command(app, "launch", examples="beckon campaigns launch abandoned-cart")
async def launch(session: Session, campaign: CampaignArgument) -> None:
    """Let a campaign react to events from now on."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("campaigns", campaign)
    _moved(session, await stub.LaunchCampaign(pb.LaunchCampaignRequest(name=name)))


@command(app, "pause", examples="beckon campaigns pause abandoned-cart")
async def pause(session: Session, campaign: CampaignArgument) -> None:
    """Let nobody enter a campaign; who waits, waits on."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("campaigns", campaign)
    _moved(session, await stub.PauseCampaign(pb.PauseCampaignRequest(name=name)))


@command(app, "archive", examples="beckon campaigns archive summer-sale")
async def archive(session: Session, campaign: CampaignArgument) -> None:
    """End a campaign for good; who waits leaves it."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("campaigns", campaign)
    _moved(session, await stub.ArchiveCampaign(pb.ArchiveCampaignRequest(name=name)))


def _row(campaign: "Campaign") -> tuple[str, ...]:
    return (
        last(campaign.name),
        enum_text(campaign, "state"),
        campaign.trigger.event_type,
        format_duration(campaign.delay.ToTimedelta()),
        enum_text(campaign.message, "channel"),
        str(campaign.version),
    )


def _moved(session: Session, campaign: "Campaign") -> None:
    if session.json:
        write_json(as_dict(campaign))
    else:
        typer.echo(f"{last(campaign.name)} is {enum_text(campaign, 'state')}")


def _show(session: Session, campaign: "Campaign") -> None:
    from cli.manifests.kinds import CAMPAIGN
    from cli.manifests.show import show

    note = (
        f"version {campaign.version}, changed {time_text(campaign.update_time)},"
        f" launched {time_text(campaign.launch_time)}"
    )
    show(session, CAMPAIGN, campaign, note=note)
