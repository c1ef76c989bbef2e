"""`beckon profiles`: what is known of people."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.profile_service_pb2 import Profile, ProfileEvent
    from beckon.profile.v1.profile_service_pb2_grpc import ProfileServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Profiles: people as we know them.")

ProfileArgument = Annotated[str, typer.Argument(help="Id or name.")]


async def _stub(session: Session) -> "ProfileServiceAsyncStub":
    from beckon.profile.v1.profile_service_pb2_grpc import ProfileServiceStub

    return ProfileServiceStub(await session.channel("profile"))


@command(app, "list", examples="beckon profiles list --limit 20")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List profiles by id."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListProfilesRequest(parent=session.parent)
    columns = ("PROFILE", "EVENTS", "LAST SEEN", "TIME ZONE", "EMAIL", "ATTRIBUTES")
    lines = Lines(session.output, columns)
    async for page in pages(stub.ListProfiles, request, lambda found: found.profiles, limit=limit):
        lines.write(page, _row, as_dict)
    lines.end("no profiles; they come into being with their first event")


@command(app, "get", examples="beckon profiles get c-17850")
async def get(session: Session, profile: ProfileArgument) -> None:
    """Show one profile."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("profiles", profile)
    _show(session, await stub.GetProfile(pb.GetProfileRequest(name=name)))


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

    stub = await _stub(session)
    request = pb.ListProfileEventsRequest(parent=session.name("profiles", profile), type=type_)
    lines = Lines(session.output, ("EVENT", "TYPE", "OCCURRED", "RECEIVED", "PROPERTIES"))
    async for page in pages(
        stub.ListProfileEvents, request, lambda found: found.events, limit=limit
    ):
        lines.write(page, _event_row, as_dict)
    lines.end("no events")


@command(
    app,
    "set",
    examples="""
    beckon profiles set ana --email ana@example.com --time-zone Europe/Lisbon first_name=Ana
    beckon profiles set ana tier=gold visits:=3 nickname:=null
    """,
)
async def set_(
    session: Session,
    profile: ProfileArgument,
    attributes: Annotated[
        list[str] | None,
        typer.Argument(help="`key=text` or `key:=json`; `key:=null` takes it away."),
    ] = None,
    *,
    email: Annotated[str | None, typer.Option(help="Where e-mail goes; '' for nowhere.")] = None,
    phone: Annotated[str | None, typer.Option(help="E.164: +4917012345.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="IANA zone: Europe/Berlin.")] = None,
    locale: Annotated[str | None, typer.Option(help="BCP 47 tag: pt-BR.")] = None,
) -> None:
    """Set what is known of a person; what is not named stays as it is."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    fields = {"email": email, "phone": phone, "time_zone": time_zone, "locale": locale}
    given = {field: text for field, text in fields.items() if text is not None}
    changes = parse_attributes(attributes or [])
    if not given and not changes:
        raise usage("nothing to set", hint="`beckon profiles set --help` shows how")
    wanted = pb.Profile(name=session.name("profiles", profile), **given)  # type: ignore[arg-type]
    wanted.attributes.update({key: value for key, value in changes.items() if value is not None})
    request = pb.UpdateProfileRequest(profile=wanted, allow_missing=True)
    request.update_mask.paths.extend([*given, *(f"attributes.{key}" for key in changes)])
    _show(session, await (await _stub(session)).UpdateProfile(request))


def parse_attributes(pairs: list[str]) -> dict[str, Any]:
    """Read `key=text` and `key:=json`."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.removesuffix(":"):
            raise usage(f"{pair!r} sets nothing", hint="expected key=text or key:=json")
        if not key.endswith(":"):
            found[key] = text
            continue
        try:
            found[key.removesuffix(":")] = json.loads(text)
        except ValueError as error:
            raise usage(
                f"{pair!r}: {error}", hint='text needs quotes in JSON: key:="text"'
            ) from error
    return found


def _events_of(profile: "Profile") -> int:
    return sum(counter.count for counter in profile.counters.values())


def _row(profile: "Profile") -> tuple[str, ...]:
    return (
        last(profile.name),
        str(_events_of(profile)),
        time_text(profile.last_seen_time),
        profile.time_zone or "-",
        profile.email or "-",
        ", ".join(sorted(profile.attributes)),
    )


def _event_row(event: "ProfileEvent") -> tuple[str, ...]:
    return (
        event.event_id,
        event.type,
        time_text(event.occur_time),
        time_text(event.receive_time),
        json.dumps(as_dict(event)["properties"], ensure_ascii=False) if event.properties else "",
    )


def _show(session: Session, profile: "Profile") -> None:
    document = as_dict(profile)
    if session.json:
        write_json(document)
        return
    facts = {
        "profile": last(profile.name),
        "email": profile.email or "-",
        "phone": profile.phone or "-",
        "time zone": profile.time_zone or "-",
        "locale": profile.locale or "-",
        "first seen": time_text(profile.first_seen_time),
        "last seen": time_text(profile.last_seen_time),
    }
    for label, text in facts.items():
        typer.echo(f"{label:<10} {text}")
    for key, value in sorted(document.get("attributes", {}).items()):
        typer.echo(f"attribute  {key} = {json.dumps(value, ensure_ascii=False)}")
    for type_, counter in sorted(profile.counters.items()):
        latest = time_text(counter.last_time)
        typer.echo(f"counter    {type_}: {counter.count}, last {latest}")
