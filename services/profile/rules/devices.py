"""What a token looks like, which devices count, and where a person can be reached."""

import json
import re
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit
from uuid import UUID

from services.profile.model import DAY_US
from services.profile.model.devices import (
    DEVICES_MAX,
    Device,
    DeviceState,
    Platform,
    Reach,
)

STALE_AFTER_US = 30 * DAY_US
"""Not seen for so long, a device is not used until it registers again."""

EXPIRED_AFTER_US = 270 * DAY_US
"""Not seen for so long, it is deleted: the providers have forgotten it as well."""

# What no token, and no name of an app, can hold.
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_HEX = re.compile(r"([0-9a-f]{2})+")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
# An uncompressed point of P-256, and the secret of RFC 8291.
_POINT_BYTES = 65
_POINT_UNCOMPRESSED = 4
_SECRET_BYTES = 16


class BadToken(ValueError):
    """The token cannot be one of the platform."""


def spell_token(platform: Platform, token: str) -> str:
    """Return the one spelling of the token; of two that a provider takes for one, the same.

    Raises:
        BadToken: It cannot be a token of the platform.
    """
    match platform:
        case Platform.FCM:
            return _plain(token)
        case Platform.APNS:
            return _hexadecimal(token.lower())
        case Platform.WEB_PUSH:
            return _subscription(token)


def identity_of(platform: Platform, spelled: str) -> str:
    """Return what of the token makes the device: of a subscription, its endpoint."""
    if platform != Platform.WEB_PUSH:
        return spelled
    endpoint: str = json.loads(spelled)["endpoint"]
    return endpoint


def is_one_line(text: str) -> bool:
    """Return whether the text is free of blanks and control characters."""
    return _BLANK.search(text) is None


def is_locale(text: str) -> bool:
    """Return whether the text can be a BCP 47 tag."""
    return _LOCALE.fullmatch(text) is not None


def state_of(device: Device, now_us: int) -> DeviceState:
    """Return the state as callers see it."""
    return DeviceState.STALE if device.is_used and is_stale(device, now_us) else device.state


def is_stale(device: Device, now_us: int) -> bool:
    """Return whether the device was not seen for too long to be used."""
    return device.seen_us <= now_us - STALE_AFTER_US


def usable(devices: Iterable[Device], now_us: int) -> list[Device]:
    """Return the devices to push to, last seen first."""
    return [one for one in as_one(devices) if one.is_used and not is_stale(one, now_us)]


def as_one(devices: Iterable[Device]) -> list[Device]:
    """Return each device of a person once, last seen first.

    Several ids of a person may have had it; the one that has it now, else had it
    last, speaks for it.
    """
    best: dict[UUID, Device] = {}
    for device in devices:
        known = best.get(device.device_id)
        if known is None or _weight(device) > _weight(known):
            best[device.device_id] = device
    return sorted(best.values(), key=place, reverse=True)


def place(device: Device) -> tuple[int, bytes]:
    """Return what devices are listed by."""
    return device.seen_us, device.device_id.bytes


def displaced(devices: Iterable[Device]) -> list[Device]:
    """Return the devices that make room: no longer used ones first, then those seen longest ago."""
    kept = sorted(as_one(devices), key=lambda one: (one.is_used, *place(one)), reverse=True)
    return kept[DEVICES_MAX:]


def reach(email: str, phone: str, devices: Sequence[Device], now_us: int) -> list[Reach]:
    """Return for each channel that leads to a person whether it does, and why not."""
    return [
        Reach("email", "" if email else "no address"),
        Reach("push", _push(devices, now_us)),
        Reach("sms", "" if phone else "no address"),
    ]


def _push(devices: Sequence[Device], now_us: int) -> str:
    if usable(devices, now_us):
        return ""
    return "all devices stale" if any(one.is_used for one in devices) else "no device"


def _weight(device: Device) -> tuple[bool, int, str]:
    return device.is_used, device.seen_us, device.member_id


def _plain(token: str) -> str:
    if not token or not is_one_line(token) or not token.isascii():
        message = "must be the registration token, without blanks"
        raise BadToken(message)
    return token


def _hexadecimal(token: str) -> str:
    if not _HEX.fullmatch(token):
        message = "must be the device token in hexadecimal"
        raise BadToken(message)
    return token


def _subscription(token: str) -> str:
    try:
        given = json.loads(token)
        endpoint, keys = given["endpoint"], given["keys"]
        point, secret = keys["p256dh"], keys["auth"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = "must be the subscription as JSON: endpoint, keys.p256dh and keys.auth"
        raise BadToken(message) from None
    if not _is_endpoint(endpoint):
        message = "endpoint must be an https URL"
        raise BadToken(message)
    decoded = _decode(point)
    if len(decoded) != _POINT_BYTES or decoded[0] != _POINT_UNCOMPRESSED:
        message = "keys.p256dh must be an uncompressed point of P-256 in base64url"
        raise BadToken(message)
    if len(_decode(secret)) != _SECRET_BYTES:
        message = "keys.auth must be 16 bytes in base64url"
        raise BadToken(message)
    spelled = {
        "endpoint": endpoint,
        "keys": {"auth": secret.rstrip("="), "p256dh": point.rstrip("=")},
    }
    return json.dumps(spelled, separators=(",", ":"))


def _is_endpoint(endpoint: object) -> bool:
    if not isinstance(endpoint, str) or not endpoint.isascii() or not is_one_line(endpoint):
        return False
    try:
        parts = urlsplit(endpoint)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _decode(text: object) -> bytes:
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*=*", text):
        return b""
    bare = text.rstrip("=")
    try:
        return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except NotBase64:
        return b""
