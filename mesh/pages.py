"""Page tokens (AIP-158): opaque, signed, and good only for the request they came from."""

import base64
import binascii
import hmac
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.protobuf.message import Message

from mesh.errors import FieldViolation, InvalidArgument, invalid_field

OrderKey: TypeAlias = tuple["str | int | float | bytes | bool | datetime | None", ...]
"""Where the next page begins: the values of the ORDER BY of the last row, with a unique one."""

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000

_MAC_BYTES = 16
# A token is made by us from a few column values; anything longer is not ours.
_TOKEN_MAX = 4096
_M = TypeVar("_M", bound=Message)


class _Token(msgspec.Struct, array_like=True):
    request: bytes
    # Of what OrderKey allows: the signature vouches for it.
    key: list[Any]


def page_size(requested: int) -> int:
    """Return how many results a page holds: 0 is 50, more than 1,000 is 1,000."""
    if requested < 0:
        raise invalid_field("page_size", "must not be negative", reason="int32.gte")
    return min(requested, PAGE_SIZE_MAX) if requested else PAGE_SIZE_DEFAULT


class PageTokens:
    """Makes and reads page tokens."""

    def __init__(self, secret: bytes) -> None:
        """Take a secret that all replicas of the service share."""
        # Its own key, so that a token says nothing about other uses of the secret.
        self._key = hmac.digest(secret, b"beckon page tokens", "sha256")

    @classmethod
    def from_keys_file(cls, path: Path) -> "PageTokens":
        """Derive the secret from the keys file, which every replica has.

        Replacing a key ends the walks that are under way; a client starts anew.
        """
        return cls(sha256(path.read_bytes()).digest())

    def write(self, request: Message, key: OrderKey, *, field: str = "page_token") -> str:
        """Return the token that continues `request` after the row with this order key."""
        body = msgspec.msgpack.encode(_Token(_request_hash(request, field), list(key)))
        return base64.urlsafe_b64encode(self._mac(body) + body).rstrip(b"=").decode()

    def read(self, request: Message, *, field: str = "page_token") -> OrderKey | None:
        """Return the order key in the request's `field`; None for the first page.

        Raises:
            InvalidArgument: The token is not ours, or is of a request that asked
                for something else.
        """
        token: str = getattr(request, field)
        if not token:
            return None
        try:
            sealed = base64.b64decode(
                token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
            mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
            if len(token) > _TOKEN_MAX or not hmac.compare_digest(mac, self._mac(body)):
                raise _bad_token(field, "is not one of ours")
            found = msgspec.msgpack.decode(body, type=_Token)
        except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError):
            raise _bad_token(field, "is not one of ours") from None
        if found.request != _request_hash(request, field):
            raise _bad_token(field, "belongs to a request with other fields")
        return tuple(found.key)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_BYTES]


def _request_hash(request: _M, field: str) -> bytes:
    # All but the walk itself: the page size may change on the way (AIP-158).
    bare = type(request)()
    bare.CopyFrom(request)
    for walking in (field, "page_size"):
        if walking in bare.DESCRIPTOR.fields_by_name:
            bare.ClearField(walking)
    content = bare.SerializeToString(deterministic=True)
    return sha256(request.DESCRIPTOR.full_name.encode() + b"\0" + content).digest()[:_MAC_BYTES]


def _bad_token(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(
        ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID,
        f"{field} {what}",
        violations=[FieldViolation(field, what, "page_token")],
    )
