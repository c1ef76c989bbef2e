"""`beckon caps`: how much is too much."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.durations import format_duration, parse_duration
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.throttle.v1.frequency_cap_service_pb2 import FrequencyCap
    from beckon.throttle.v1.frequency_cap_service_pb2_grpc import FrequencyCapServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Frequency caps: how much is too much.")

CapArgument = Annotated[str, typer.Argument(help="Id or name.")]


async def _stub(session: Session) -> "FrequencyCapServiceAsyncStub":
    from beckon.throttle.v1.frequency_cap_service_pb2_grpc import FrequencyCapServiceStub

    return FrequencyCapServiceStub(await session.channel("throttle"))


@command(app, "list", examples="beckon caps list")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List caps by id."""
    from beckon.throttle.v1 import frequency_cap_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListFrequencyCapsRequest(parent=session.parent)
    lines = _lines(session)
    async for page in pages(
        stub.ListFrequencyCaps, request, lambda found: found.frequency_caps, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("no caps: nothing limits how much goes out")


@command(
    app,
    "set",
    examples="""
    beckon caps set daily-email --limit 2 --per day --channel email
    beckon caps set hourly --limit 1 --per 1h --on-breach defer
    """,
)
async def set_(
    session: Session,
    cap: CapArgument,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")],
    per: Annotated[
        str, typer.Option("--per", help="`day` or `week` of the recipient, or a rolling span: 24h.")
    ],
    channel: Annotated[
        str, typer.Option("--channel", help="Only of this one. Default: all that reach a person.")
    ] = "",
    on_breach: Annotated[
        str, typer.Option("--on-breach", help="What becomes of one too many: suppress or defer.")
    ] = "suppress",
) -> None:
    """Create or replace a cap. Holds within a second."""
    from beckon.throttle.v1 import frequency_cap_service_pb2 as pb
    from beckon.type.v1 import channel_pb2
    from google.protobuf.duration_pb2 import Duration

    wanted = pb.FrequencyCap(name=session.name("frequencyCaps", cap), limit=limit)
    try:
        wanted.channel = channel_pb2.Channel.Value(f"CHANNEL_{channel or 'unspecified'}".upper())
        wanted.on_breach = pb.FrequencyCap.OnBreach.Value(f"ON_BREACH_{on_breach}".upper())
        if per in {"day", "week"}:
            wanted.calendar = pb.FrequencyCap.CalendarWindow.Value(f"CALENDAR_WINDOW_{per}".upper())
        else:
            rolling = Duration()
            rolling.FromTimedelta(parse_duration(per))
            wanted.rolling.CopyFrom(rolling)
    except ValueError as error:
        raise usage(str(error), hint="`beckon caps set --help` shows how") from error
    request = pb.UpdateFrequencyCapRequest(frequency_cap=wanted, allow_missing=True)
    request.update_mask.paths.append("*")
    answer = await (await _stub(session)).UpdateFrequencyCap(request)
    if session.json:
        write_json(as_dict(answer))
    else:
        _lines(session).write([answer], _row, as_dict)


@command(app, "delete", examples="beckon caps delete hourly")
async def delete(session: Session, cap: CapArgument) -> None:
    """Remove a cap."""
    from beckon.throttle.v1 import frequency_cap_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("frequencyCaps", cap)
    await stub.DeleteFrequencyCap(pb.DeleteFrequencyCapRequest(name=name))
    if session.json:
        write_json({"name": name, "deleted": True})
    else:
        typer.echo(f"{last(name)} is gone")


def _lines(session: Session) -> Lines:
    return Lines(session.output, ("CAP", "LIMIT", "WINDOW", "CHANNEL", "ON BREACH", "CHANGED"))


def _row(cap: "FrequencyCap") -> tuple[str, ...]:
    if cap.WhichOneof("window") == "rolling":
        window = f"any {format_duration(cap.rolling.ToTimedelta())}"
    else:
        window = f"the recipient's {enum_text(cap, 'calendar')}"
    channel = enum_text(cap, "channel")
    breach = enum_text(cap, "on_breach")
    return (
        last(cap.name),
        str(cap.limit),
        window,
        "all that reach a person" if channel == "unspecified" else channel,
        "suppress" if breach == "unspecified" else breach,
        time_text(cap.update_time),
    )
