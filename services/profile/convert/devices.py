"""Devices in and out."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID, uuid5

from beckon.profile.v1 import device_service_pb2 as pb
from beckon.profile.v1 import observation_service_pb2 as observation_pb
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.type.v1.channel_pb2 import Channel

from mesh.errors import InvalidArgument, invalid_field
from mesh.names import format_name, parse_child
from services.profile.convert.moments import micros
from services.profile.model import PersonKey
from services.profile.model.devices import (
    Device,
    DeviceReport,
    DeviceTransfer,
    Platform,
    Reach,
    Registration,
)
from services.profile.rules.devices import (
    BadToken,
    identity_of,
    is_locale,
    is_one_line,
    spell_token,
    state_of,
)

# Under it a token is the same device for ever; changing it would make every device a new one.
_ROOT = UUID("0f2f9b5e-6f0e-5d0a-9f0b-6b8d7a1c5e42")
_CHANNELS = {
    "email": Channel.CHANNEL_EMAIL,
    "push": Channel.CHANNEL_PUSH,
    "sms": Channel.CHANNEL_SMS,
}


def registration(workspace: str, request: pb.RegisterDeviceRequest) -> Registration:
    """Return what the app says, its token spelled in one way.

    Raises:
        InvalidArgument: The token cannot be one of the platform, or another field
            is not what it should be. The token itself is never told back.
    """
    platform = Platform(request.platform)
    try:
        token = spell_token(platform, request.token)
    except BadToken as error:
        raise invalid_field("token", str(error)) from None
    if not is_one_line(request.app):
        raise invalid_field("app", "must not hold blanks")
    if request.locale and not is_locale(request.locale):
        raise invalid_field("locale", "must be a BCP 47 tag: pt-BR")
    identity = identity_of(platform, token)
    # No workspace holds a NUL, no number either: no two triples meet.
    device_id = uuid5(_ROOT, f"{workspace}\0{platform.value}\0{identity}")
    return Registration(device_id, platform, token, request.app, request.locale)


def device_key(name: str, *, field: str = "name") -> tuple[PersonKey, UUID]:
    """Return the person and the device of a device's name."""
    try:
        workspace, profile, device = parse_child(name, "profiles", "devices", field=field)
        return (workspace, profile), UUID(device)
    except ValueError:
        raise _bad_name(field) from None


def device(person: PersonKey, known: Device, now: datetime) -> pb.Device:
    """Return the device as callers see it: without its token."""
    message = pb.Device(
        name=device_name(person, known.device_id),
        platform=pb.Device.Platform.ValueType(known.platform),
        app=known.app,
        locale=known.locale,
        state=pb.Device.State.ValueType(state_of(known, micros(now))),
        reason=known.reason,
    )
    message.create_time.FromDatetime(known.create_time)
    message.seen_time.FromMicroseconds(known.seen_us)
    if known.end_time is not None:
        message.end_time.FromDatetime(known.end_time)
    return message


def transfer(person: PersonKey, one: DeviceTransfer) -> pb.DeviceTransfer:
    """Return a change of hands, as `person` is shown it."""
    workspace = person[0]
    at = (workspace, one.to_id or one.from_id or person[1])
    message = pb.DeviceTransfer(
        device=device_name(at, one.device_id),
        to=format_name(workspace, "profiles", one.to_id) if one.to_id else "",
        reason=one.reason,
    )
    # A keyword of Python.
    setattr(message, "from", format_name(workspace, "profiles", one.from_id) if one.from_id else "")
    message.transfer_time.FromDatetime(one.transfer_time)
    return message


def reports(items: Iterable[pb.RetireDevicesRequest.Item]) -> list[DeviceReport]:
    """Return what the provider says, in one order.

    Raises:
        InvalidArgument: A name is not that of a device, or a report has no time.
    """
    made = []
    for index, item in enumerate(items):
        (workspace, _), device_id = device_key(item.name, field=f"items[{index}].name")
        if not item.HasField("report_time"):
            raise invalid_field(f"items[{index}].report_time", "must be set")
        reason = item.reason.replace("\0", "")
        report_us = item.report_time.ToMicroseconds()
        made.append(DeviceReport(workspace, device_id, report_us, reason))
    return made


def addresses(
    person: PersonKey, devices: Iterable[Device]
) -> list[observation_pb.Addresses.Device]:
    """Return the devices with their tokens: only for who sends."""
    return [
        observation_pb.Addresses.Device(
            name=device_name(person, one.device_id),
            platform=pb.Device.Platform.ValueType(one.platform),
            token=one.token,
            app=one.app,
            locale=one.locale,
        )
        for one in devices
    ]


def reach(channels: Iterable[Reach]) -> list[profile_pb.Profile.Reach]:
    """Return on what channels a person can be reached."""
    return [
        profile_pb.Profile.Reach(
            channel=_CHANNELS[one.channel], reachable=not one.reason, reason=one.reason
        )
        for one in channels
    ]


def device_name(person: PersonKey, device_id: UUID) -> str:
    """Return the name of a device at this person."""
    return f"{format_name(person[0], 'profiles', person[1])}/devices/{device_id}"


def _bad_name(field: str) -> InvalidArgument:
    form = "workspaces/{workspace}/profiles/{profile}/devices/{device}"
    return invalid_field(field, f"must have the form {form}", reason="name")
