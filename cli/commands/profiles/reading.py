"""`beckon profiles list`, `get`, `events` and `explain`: looking at people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.commands.profiles.app import ProfileArgument, app, profiles_stub
from cli.commands.profiles.show import (
    MERGE_COLUMNS,
    event_row,
    facts,
    merge_row,
    profile_row,
    write_profile,
)
from cli.output import Format, Lines, as_dict, last, time_text, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.profile_service_pb2 import ProfileExplanation


@command(
    app,
    "list",
    examples="""
    beckon profiles list --limit 20
    beckon profiles list --filter 'profile.attributes.tier == "gold"'
    beckon profiles list --order-by 'last_seen_time desc' --limit 5
    """,
)
async def list_(
    session: Session,
    *,
    filter_: Annotated[
        str, typer.Option("--filter", "-f", help="CEL over `profile`, as in a segment.")
    ] = "",
    order_by: Annotated[
        str,
        typer.Option(
            "--order-by",
            help="name, create_time, update_time or last_seen_time; with ` desc`: the other way.",
        ),
    ] = "",
    limit: Limit = None,
) -> None:
    """List profiles, each person once."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    from cli.pages import pages

    stub = await profiles_stub(session)
    request = pb.ListProfilesRequest(parent=session.parent, filter=filter_, order_by=order_by)
    columns = ("PROFILE", "EVENTS", "LAST SEEN", "TIME ZONE", "EMAIL", "ATTRIBUTES")
    lines = Lines(session.output, columns)
    async for page in pages(stub.ListProfiles, request, lambda found: found.profiles, limit=limit):
        lines.write(page, profile_row, as_dict)
    nothing = "no such profiles" if filter_ else "no profiles"
    lines.end(f"{nothing}; they come into being with their first event")


@command(app, "get", examples="beckon profiles get c-17850")
async def get(session: Session, profile: ProfileArgument) -> None:
    """Show one profile, by any of its ids."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    stub = await profiles_stub(session)
    name = session.name("profiles", profile)
    write_profile(session, await stub.GetProfile(pb.GetProfileRequest(name=name)))


@command(app, "events", examples="beckon profiles events c-17850 --type order_placed --limit 5")
async def events(
    session: Session,
    profile: ProfileArgument,
    *,
    type_: Annotated[str, typer.Option("--type", "-t", help="Only of this type.")] = "",
    limit: Limit = None,
) -> None:
    """List what a profile did, newest first."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    from cli.pages import pages

    stub = await profiles_stub(session)
    request = pb.ListProfileEventsRequest(parent=session.name("profiles", profile), type=type_)
    lines = Lines(session.output, ("EVENT", "TYPE", "OCCURRED", "RECEIVED", "PROPERTIES"))
    async for page in pages(
        stub.ListProfileEvents, request, lambda found: found.events, limit=limit
    ):
        lines.write(page, event_row, as_dict)
    lines.end("no events")


@command(app, "explain", examples="beckon profiles explain ana")
async def explain(session: Session, profile: ProfileArgument) -> None:
    """Say where what is known of a person comes from: which id, who wrote what when."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    stub = await profiles_stub(session)
    name = session.name("profiles", profile)
    found = await stub.ExplainProfile(pb.ExplainProfileRequest(name=name))
    if session.json:
        write_json(as_dict(found))
    else:
        _show(found)


def _show(found: "ProfileExplanation") -> None:
    for label, text in facts(found.profile):
        typer.echo(f"{label:<10} {text}")
    members = [
        (
            member.profile_id,
            ", ".join(f"{counter.count} {of}" for of, counter in sorted(member.counters.items())),
            time_text(member.first_seen_time),
            time_text(member.last_seen_time),
        )
        for member in found.members
    ]
    sources = [
        (source.key, source.profile_id, time_text(source.write_time)) for source in found.sources
    ]
    memberships = [
        (last(one.segment), time_text(one.enter_time), time_text(one.due_time))
        for one in found.memberships
        if one.member
    ]
    _section("recorded under each id", ("ID", "EVENTS", "FIRST SEEN", "LAST SEEN"), members)
    _section("written", ("ATTRIBUTE", "UNDER", "WHEN"), sources)
    _section("how the ids came together", MERGE_COLUMNS, [merge_row(one) for one in found.merges])
    _section("segments", ("SEGMENT", "SINCE", "MAY CHANGE"), memberships)


def _section(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        typer.secho(f"\n{title}", dim=True)
        Lines(Format.TABLE, columns).write(rows, lambda row: row, lambda row: {title: row})
