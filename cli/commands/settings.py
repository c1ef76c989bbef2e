"""`beckon settings`: what holds for all campaigns of a workspace."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Lines, as_dict, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.settings_service_pb2 import Settings
    from beckon.trigger.v1.settings_service_pb2_grpc import SettingsServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Settings: what holds for all campaigns.")


async def _stub(session: Session) -> "SettingsServiceAsyncStub":
    from beckon.trigger.v1.settings_service_pb2_grpc import SettingsServiceStub

    return SettingsServiceStub(await session.channel("trigger"))


@command(app, "get", examples="beckon settings get --workspace main")
async def get(session: Session) -> None:
    """Show the settings of the workspace."""
    from beckon.trigger.v1 import settings_service_pb2 as pb

    request = pb.GetSettingsRequest(name=f"{session.parent}/settings")
    _show(session, await (await _stub(session)).GetSettings(request))


@command(
    app,
    "set",
    examples="""
    beckon settings set --time-zone Asia/Kolkata
    beckon settings set --holdout-percent 2.5 --holdout-salt 2026
    """,
)
async def set_(
    session: Session,
    *,
    time_zone: Annotated[
        str | None,
        typer.Option(
            "--time-zone", metavar="ZONE", help="Of people whose own is unknown; empty: UTC."
        ),
    ] = None,
    holdout_percent: Annotated[
        float | None,
        typer.Option(
            "--holdout-percent", min=0, max=50, help="Share of people who get no campaign at all."
        ),
    ] = None,
    holdout_salt: Annotated[
        str | None, typer.Option("--holdout-salt", help="Changes who they are.")
    ] = None,
) -> None:
    """Change what is named, and leave the rest. Holds for every event from then on."""
    from beckon.trigger.v1 import settings_service_pb2 as pb

    given = {
        "time_zone": time_zone,
        "holdout_percent": holdout_percent,
        "holdout_salt": holdout_salt,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        raise usage("nothing to set", hint="`beckon settings set --help` shows what there is")
    request = pb.UpdateSettingsRequest(settings=pb.Settings(name=f"{session.parent}/settings"))
    for name, value in wanted.items():
        setattr(request.settings, name, value)
    request.update_mask.paths.extend(wanted)
    _show(session, await (await _stub(session)).UpdateSettings(request))


def _show(session: Session, settings: "Settings") -> None:
    if session.json:
        write_json(as_dict(settings))
        return
    lines = Lines(session.output, ("WORKSPACE", "TIME ZONE", "HOLDOUT", "SALT", "CHANGED"))
    lines.write([settings], _row, as_dict)


def _row(settings: "Settings") -> tuple[str, ...]:
    return (
        settings.name.split("/")[1],
        settings.time_zone or "UTC",
        f"{settings.holdout_percent:g} %",
        settings.holdout_salt or "-",
        time_text(settings.update_time) if settings.HasField("update_time") else "never",
    )
