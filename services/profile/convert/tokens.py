"""Consistency tokens: a state of a person, to be told by who wrote it to who reads."""

import base64
import binascii
import struct
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import InvalidArgument, Unavailable, invalid_field
from services.profile.model import PersonKey
from services.profile.model.persons import Person

# Which person, which version, and a check that it is one of ours.
_FORM = struct.Struct(">8sQ4s")
_CHARACTERS = 27


class Token(NamedTuple):
    """At least this version of who has this id."""

    id_hash: bytes
    version: int


def token(key: PersonKey, version: int) -> str:
    """Return the token for a state of a person, under whatever id."""
    head = _hash(key)
    packed = _FORM.pack(head, version, _check(head, version))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def parse_token(text: str, *, field: str = "consistency_token") -> Token:
    """Return what the token says.

    Raises:
        InvalidArgument: It is not one of ours.
    """
    if len(text) != _CHARACTERS or not text.isascii():
        raise _bad(field)
    try:
        packed = base64.b64decode(f"{text}=", altchars=b"-_", validate=True)
    except binascii.Error:
        raise _bad(field) from None
    head, version, check = _FORM.unpack(packed)
    if check != _check(head, version):
        raise _bad(field)
    return Token(head, version)


def is_behind(person: Person | None, key: PersonKey, wanted: Token) -> bool:
    """Return whether the person, asked for by `key`, is older than what the token stands for.

    A token of somebody else says nothing.
    """
    if wanted.id_hash not in _hashes(key, person):
        return False
    return person is None or person.profile.version < wanted.version


def check_current(
    people: Mapping[PersonKey, Person | None], tokens: Iterable[str], *, field: str
) -> None:
    """Refuse to show what is older than the tokens stand for.

    Raises:
        InvalidArgument: A token is not one of ours.
        Unavailable: Somebody is older.
    """
    wanted = [parse_token(text, field=field) for text in tokens if text]
    if not wanted:
        return
    asked = {one: key for key, person in people.items() for one in _hashes(key, person)}
    for one in wanted:
        key = asked.get(one.id_hash)
        if key is not None and is_behind(people[key], key, one):
            raise Unavailable(
                ErrorReason.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
                "the profile is older than the consistency token",
                metadata={"dependency": "profile"},
            )


def _hashes(key: PersonKey, person: Person | None) -> set[bytes]:
    ids = {key[1], *(person.ids if person is not None else ())}
    return {_hash((key[0], one)) for one in ids}


def _hash(key: PersonKey) -> bytes:
    return sha256("/".join(key).encode()).digest()[:8]


def _check(head: bytes, version: int) -> bytes:
    return sha256(b"%b%d" % (head, version)).digest()[:4]


def _bad(field: str) -> InvalidArgument:
    return invalid_field(field, "is not one of ours", reason="consistency_token")
