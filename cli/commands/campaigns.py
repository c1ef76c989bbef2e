"""`beckon campaigns`: looking at campaigns and moving them through their states."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.apply import InFlightOption, in_flight_of
from cli.commands.options import Limit
from cli.durations import format_duration
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.campaign_service_pb2 import Campaign, CampaignVersion
    from beckon.trigger.v1.campaign_service_pb2_grpc import CampaignServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Campaigns: which message follows which event.")

_ITEMS_MAX = 1000
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


@command(
    app,
    "trigger",
    examples="""
    beckon campaigns trigger order-shipped --profile ana --id order-17 --properties '{"total": 12}'
    beckon campaigns trigger order-shipped -f items.jsonl
    """,
)
async def trigger(
    session: Session,
    campaign: CampaignArgument,
    *,
    profile: Annotated[str, typer.Option("--profile", help="Who gets it.")] = "",
    event_id: Annotated[str, typer.Option("--id", help="Your id of this request.")] = "",
    properties: Annotated[str, typer.Option("--properties", help="A JSON object.")] = "{}",
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Items as JSON lines: profile, event_id, properties."),
    ] = None,
) -> None:
    """Begin a campaign for who is named; the same id again begins nothing."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    from cli.requests import items_of, refused_of

    items = items_of(session, file, profile, event_id, properties)
    stub = await _stub(session)
    name = session.name("campaigns", campaign)
    refused: list[tuple[str, str]] = []
    for at in range(0, len(items), _ITEMS_MAX):
        some = items[at : at + _ITEMS_MAX]
        answer = await stub.TriggerCampaign(pb.TriggerCampaignRequest(name=name, items=some))
        refused += refused_of(some, answer.statuses)
    if session.json:
        write_json({"begun": len(items) - len(refused), "refused": dict(refused)})
    else:
        typer.echo(f"{len(items) - len(refused):,} begun, {len(refused):,} refused")
        for id_, why in refused:
            typer.echo(f"  {id_}: {why}")
    if refused:
        raise typer.Exit(1)


@command(app, "versions", examples="beckon campaigns versions abandoned-cart --limit 5")
async def versions(session: Session, campaign: CampaignArgument, *, limit: Limit = None) -> None:
    """List what a campaign has been, newest first, and who made it so."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListCampaignVersionsRequest(name=session.name("campaigns", campaign))
    lines = Lines(session.output, ("VERSION", "SINCE", "BY", "ON THEIR WAY"))
    async for page in pages(
        stub.ListCampaignVersions, request, lambda found: found.versions, limit=limit
    ):
        lines.write(page, _version_row, as_dict)


@command(
    app,
    "rollback",
    examples="""
    beckon campaigns rollback abandoned-cart --version 3
    beckon campaigns rollback abandoned-cart --version 3 --in-flight finish
    """,
)
async def rollback(
    session: Session,
    campaign: CampaignArgument,
    *,
    version: Annotated[int, typer.Option("--version", min=1, help="Whose content to take.")],
    in_flight: InFlightOption = None,
) -> None:
    """Make the content of an earlier version the newest one."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    stub = await _stub(session)
    found = await stub.RollbackCampaign(
        pb.RollbackCampaignRequest(
            name=session.name("campaigns", campaign),
            version=version,
            in_flight=in_flight_of(in_flight),
        )
    )
    if session.json:
        write_json(as_dict(found))
    else:
        typer.echo(f"{last(found.name)} is version {found.version}, as version {version} was")


@command(app, "traffic", examples="beckon campaigns traffic abandoned-cart")
async def traffic(session: Session, campaign: CampaignArgument) -> None:
    """Count who is on the way through a campaign."""
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    stub = await _stub(session)
    request = pb.GetCampaignTrafficRequest(name=session.name("campaigns", campaign))
    found = await stub.GetCampaignTraffic(request)
    if session.json:
        write_json(as_dict(found))
        return
    due = f", the first due {time_text(found.next_due_time)}" if found.waiting_count else ""
    typer.echo(f"{found.waiting_count:,} waiting{due}; {found.sending_count:,} released")
    for version, count in sorted(found.waiting_by_version.items()):
        typer.echo(f"  {count:,} by version {version}")


def _version_row(version: "CampaignVersion") -> tuple[str, ...]:
    return (
        str(version.version),
        time_text(version.create_time),
        version.caller or "-",
        enum_text(version, "in_flight"),
    )


@command(app, "report", examples="beckon campaigns report picture-test -o json")
async def report(session: Session, campaign: CampaignArgument) -> None:
    """Compare the variants of a campaign: who entered, what became of it, which does best.

    May be looked at any time: the evidence holds however often one looks.
    """
    from beckon.trigger.v1 import campaign_service_pb2 as pb

    from cli.reports import show_report

    stub = await _stub(session)
    name = session.name("campaigns", campaign)
    found = await stub.GetCampaignReport(pb.GetCampaignReportRequest(name=name))
    if session.json:
        write_json(as_dict(found))
    else:
        show_report(found)


def _row(campaign: "Campaign") -> tuple[str, ...]:
    return (
        last(campaign.name),
        enum_text(campaign, "state"),
        _beginning(campaign),
        format_duration(campaign.delay.ToTimedelta()),
        enum_text(campaign.message, "channel"),
        str(campaign.version),
    )


def _beginning(campaign: "Campaign") -> str:
    """Return what a campaign begins with: the type of an event, or what else it is."""
    return campaign.trigger.event_type or f"({campaign.trigger.WhichOneof('beginning')})"


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
