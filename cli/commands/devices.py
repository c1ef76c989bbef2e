"""`beckon devices`: on what people can be pushed to."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.device_service_pb2 import Device
    from beckon.profile.v1.device_service_pb2_grpc import DeviceServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Devices: on what people can be pushed to.")

ProfileArgument = Annotated[str, typer.Argument(help="Id or name.")]

_COLUMNS = ("DEVICE", "PLATFORM", "APP", "LOCALE", "STATE", "SINCE", "SEEN", "ENDED", "REASON")
_TRANSFER_COLUMNS = ("DEVICE", "FROM", "TO", "WHEN", "REASON")


async def _stub(session: Session) -> "DeviceServiceAsyncStub":
    from beckon.profile.v1.device_service_pb2_grpc import DeviceServiceStub

    return DeviceServiceStub(await session.channel("profile"))


@command(
    app,
    "register",
    examples="""
    beckon devices register ana --platform fcm --token "$TOKEN" --app com.example.shop
    beckon devices register ana --platform web_push --token @subscription.json
    """,
)
async def register(
    session: Session,
    profile: ProfileArgument,
    *,
    platform: Annotated[str, typer.Option("--platform", help="fcm, apns or web_push.")],
    token: Annotated[
        str, typer.Option("--token", help="The provider's; @FILE reads it, @- from the input.")
    ],
    app_: Annotated[str, typer.Option("--app", help="Bundle id, package name or origin.")] = "",
    locale: Annotated[str, typer.Option(help="BCP 47 tag: pt-BR.")] = "",
) -> None:
    """Say that a person uses a device now. Takes it from whoever had it before."""
    from beckon.profile.v1 import device_service_pb2 as pb

    from cli.choices import choice

    request = pb.RegisterDeviceRequest(
        profile=session.name("profiles", profile),
        platform=choice(pb.Device.Platform, platform, "--platform"),
        token=_token(token),
        app=app_,
        locale=locale,
    )
    _show(session, await (await _stub(session)).RegisterDevice(request))


@command(app, "release", examples="beckon devices release ana 5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11")
async def release(
    session: Session,
    profile: ProfileArgument,
    device: Annotated[str, typer.Argument(help="Id, as `list` shows it.")],
) -> None:
    """Say that a person no longer uses a device: logged out."""
    from beckon.profile.v1 import device_service_pb2 as pb

    name = f"{session.name('profiles', profile)}/devices/{last(device)}"
    stub = await _stub(session)
    _show(session, await stub.ReleaseDevice(pb.ReleaseDeviceRequest(name=name)))


@command(app, "list", examples="beckon devices list ana")
async def list_(session: Session, profile: ProfileArgument, *, limit: Limit = None) -> None:
    """List a person's devices, last seen first."""
    from beckon.profile.v1 import device_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListDevicesRequest(parent=session.name("profiles", profile))
    lines = Lines(session.output, _COLUMNS)
    async for page in pages(stub.ListDevices, request, lambda found: found.devices, limit=limit):
        lines.write(page, _row, as_dict)
    lines.end("no devices")


@command(app, "transfers", examples="beckon devices transfers ana")
async def transfers(session: Session, profile: ProfileArgument, *, limit: Limit = None) -> None:
    """List how devices came to a person and left, newest first."""
    from beckon.profile.v1 import device_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListDeviceTransfersRequest(parent=session.name("profiles", profile))
    lines = Lines(session.output, _TRANSFER_COLUMNS)
    async for page in pages(
        stub.ListDeviceTransfers, request, lambda found: found.transfers, limit=limit
    ):
        lines.write(
            page,
            lambda one: (
                last(one.device),
                last(getattr(one, "from")),
                last(one.to),
                time_text(one.transfer_time),
                one.reason,
            ),
            as_dict,
        )
    lines.end("no device ever came or went")


def _token(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return (sys.stdin.read() if text == "@-" else Path(text[1:]).read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"cannot read the token: {error}") from error


def _show(session: Session, device: "Device") -> None:
    if session.json:
        write_json(as_dict(device))
    else:
        Lines(session.output, _COLUMNS).write([device], _row, as_dict)


def _row(device: "Device") -> tuple[str, ...]:
    return (
        last(device.name),
        enum_text(device, "platform"),
        device.app or "-",
        device.locale or "-",
        enum_text(device, "state"),
        time_text(device.create_time),
        time_text(device.seen_time),
        time_text(device.end_time),
        device.reason,
    )
