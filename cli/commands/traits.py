"""`beckon traits`: numbers that are reckoned from what people do."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.durations import format_duration, parse_duration
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.trait_service_pb2 import Trait
    from beckon.profile.v1.trait_service_pb2_grpc import TraitServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Traits: numbers reckoned from what people do.")

TraitArgument = Annotated[str, typer.Argument(help="Id or name.")]

_COLUMNS = ("TRAIT", "RECKONS", "WINDOW", "ONLY", "STATE", "SINCE")
_CALENDAR = ("day", "week", "month")


async def _stub(session: Session) -> "TraitServiceAsyncStub":
    from beckon.profile.v1.trait_service_pb2_grpc import TraitServiceStub

    return TraitServiceStub(await session.channel("profile"))


@command(app, "list", examples="beckon traits list")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List traits by id."""
    from beckon.profile.v1 import trait_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListTraitsRequest(parent=session.parent)
    lines = Lines(session.output, _COLUMNS)
    async for page in pages(stub.ListTraits, request, lambda found: found.traits, limit=limit):
        lines.write(page, _row, as_dict)
    lines.end("no traits; `beckon apply -f examples/profiles` brings some")


@command(app, "get", examples="beckon traits get messages_this_month")
async def get(session: Session, trait: TraitArgument) -> None:
    """Show one trait, with how far its backfill is."""
    from beckon.profile.v1 import trait_service_pb2 as pb

    from cli.manifests.kinds import TRAIT
    from cli.manifests.show import show

    stub = await _stub(session)
    found = await stub.GetTrait(pb.GetTraitRequest(name=session.name("traits", trait)))
    note = f"{_state(found)}, declared {time_text(found.create_time)}"
    show(session, TRAIT, found, note=note)


@command(
    app,
    "create",
    examples="""
    beckon traits create messages_this_month --event chat_message_sent --per month --compare
    beckon traits create spent_30d --event order_placed --aggregate sum --property value --per 30d
    beckon traits create days_in_a_row --event app_opened --aggregate streak --backfill
    """,
)
async def create(
    session: Session,
    trait: Annotated[str, typer.Argument(help="Its id, snake_case: messages_this_month.")],
    *,
    event: Annotated[
        str, typer.Option("--event-type", "--event", "-e", help="Events of which type.")
    ],
    aggregate: Annotated[
        str,
        typer.Option(
            "--aggregate",
            "-a",
            help="count, sum, min, max, last, distinct, streak or longest_streak.",
        ),
    ] = "count",
    property_: Annotated[
        str, typer.Option("--property", help="Of the event: what is summed, and so on.")
    ] = "",
    filter_: Annotated[
        str, typer.Option("--filter", "-f", help="CEL over `event`: only such events.")
    ] = "",
    per: Annotated[
        str,
        typer.Option(
            "--per", help="day, week or month of the person, or a rolling span: 30d. Default: ever."
        ),
    ] = "",
    compare: Annotated[
        bool, typer.Option("--compare", help="Keep the window before, too: `<id>_previous`.")
    ] = False,
    backfill: Annotated[bool, typer.Option("--backfill", help="Read the history first.")] = False,
) -> None:
    """Declare a trait. Filters and templates read it as `profile.traits.<id>`."""
    from beckon.profile.v1 import trait_service_pb2 as pb

    from cli.choices import choice

    wanted = pb.Trait(
        name=session.name("traits", trait),
        event_type=event,
        aggregate=choice(pb.Trait.Aggregate, aggregate, "--aggregate"),
        property=property_,
        filter=filter_,
        compare=compare,
        backfill=backfill,
    )
    if per in _CALENDAR:
        wanted.calendar = choice(pb.Trait.Calendar, per, "--per")
    elif per:
        try:
            wanted.rolling.FromTimedelta(parse_duration(per))
        except ValueError as error:
            raise usage(f"--per: {error}", hint="or day, week, month") from error
    _show(session, await (await _stub(session)).CreateTrait(pb.CreateTraitRequest(trait=wanted)))


@command(app, "delete", examples="beckon traits delete spent_30d")
async def delete(session: Session, trait: TraitArgument) -> None:
    """Remove a trait and its values. One that a segment reads is kept."""
    from beckon.profile.v1 import trait_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("traits", trait)
    await stub.DeleteTrait(pb.DeleteTraitRequest(name=name))
    if session.json:
        write_json({"name": name, "deleted": True})
    else:
        typer.echo(f"{last(name)} is gone")


def _show(session: Session, trait: "Trait") -> None:
    if session.json:
        write_json(as_dict(trait))
    else:
        Lines(session.output, _COLUMNS).write([trait], _row, as_dict)


def _row(trait: "Trait") -> tuple[str, ...]:
    reckons = enum_text(trait, "aggregate")
    of = f"{trait.property} of " if trait.property else ""
    return (
        last(trait.name),
        f"{reckons} {of}{trait.event_type}",
        _window(trait) + (", compared" if trait.compare else ""),
        trait.filter or "-",
        _state(trait),
        time_text(trait.create_time),
    )


def _window(trait: "Trait") -> str:
    match trait.WhichOneof("window"):
        case "rolling":
            return f"any {format_duration(trait.rolling.ToTimedelta())}"
        case "calendar":
            return f"the person's {enum_text(trait, 'calendar')}"
        case _:
            return "ever"


def _state(trait: "Trait") -> str:
    state = enum_text(trait, "state")
    return f"{state}, {trait.backfill_progress:.0%}" if state == "backfilling" else state
