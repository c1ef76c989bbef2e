"""JSON objects and lists taken apart and put together without touching their values.

A value that is decoded and encoded again comes back changed: 1.10 as 1.1, a long
number rounded. Here values stay the text they were.
"""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from json.decoder import JSONDecodeError
from json.encoder import encode_basestring_ascii

# Numbers stay text: they are only skipped, and 1e999 must not become infinity.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)
_SPACE = re.compile(r"[ \t\r\n]*")
# Most members by far: a plain key and a plain value. One match instead of six steps.
_PLAIN_MEMBER = re.compile(
    r"""
    [ \t\r\n]*"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*
    ("[^"\\\x00-\x1f]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)
    [ \t\r\n]*[,}]
    """,
    re.VERBOSE,
)
_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)


class NotAnObject(ValueError):
    """The text is not a JSON object."""


def quote(text: str) -> str:
    """Return a text as JSON."""
    return encode_basestring_ascii(text)


def unquote(value: str) -> str:
    """Return the text that a JSON string says."""
    text: str = json.loads(value) if "\\" in value else value[1:-1]
    return text


def split(text: str) -> dict[str, str]:
    """Return the values by key, each as its JSON text; of equal keys the last.

    Raises:
        NotAnObject: With what is wrong.
    """
    try:
        return _split(text)
    except (JSONDecodeError, RecursionError) as error:
        message = error.msg if isinstance(error, JSONDecodeError) else "nested too deep"
        raise NotAnObject(message) from None


def join(values: Mapping[str, str]) -> str:
    """Return the object with these values, spaced as PostgreSQL spaces them."""
    return "{" + ", ".join([f"{quote(key)}: {value}" for key, value in values.items()]) + "}"


def split_list(text: str) -> list[str]:
    """Return the items of a JSON list, each as its JSON text."""
    items: list[str] = []
    at = _skip(text, _expect(text, _skip(text, 0), "["))
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        items.append(text[at:end])
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return items


def join_list(items: Iterable[str]) -> str:
    """Return the list of these items."""
    return f"[{', '.join(items)}]"


def same(one: str, other: str) -> bool:
    """Return whether two JSON texts say the same: 1.10 and 1.1 do, and so do two orders of keys."""
    return one == other or normal(one) == normal(other)


def normal(value: str) -> str:
    """Return a text that is equal for all JSON texts that say the same."""
    if value[0] == '"' and value.isascii() and "\\" not in value:
        return value
    return json.dumps(_NORMAL.decode(value), sort_keys=True)


def _normal_number(text: str) -> str:
    # Marked by what no text that PostgreSQL keeps can hold: the number 1 is not the text "1".
    try:
        number = _EXACT.create_decimal(text)
        return "\0" + str(number.normalize(_EXACT) if number else Decimal())
    except ArithmeticError:
        # An exponent beyond all bounds.
        return "\0" + text


_NORMAL = json.JSONDecoder(parse_float=_normal_number, parse_int=_normal_number)


def _split(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    at = _skip(text, _expect(text, _skip(text, 0), "{"))
    if text[at : at + 1] == "}":
        return _ended(text, at, values)
    while True:
        member = _PLAIN_MEMBER.match(text, at)
        if member is not None:
            values[member[1]] = member[2]
            at = member.end() - 1
        else:
            at = _skip(text, _take(text, _skip(text, at), values))
        if text[at : at + 1] == "}":
            return _ended(text, at, values)
        at = _expect(text, at, ",")


def _take(text: str, at: int, values: dict[str, str]) -> int:
    """Take one member whatever it looks like; return where it ends."""
    _expect(text, at, '"')
    key, at = _DECODER.raw_decode(text, at)
    begin = _skip(text, _expect(text, _skip(text, at), ":"))
    _, at = _DECODER.raw_decode(text, begin)
    values[key] = text[begin:at]
    return at


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at


def _expect(text: str, at: int, sign: str) -> int:
    if text[at : at + 1] != sign:
        message = f"expected {sign}"
        raise JSONDecodeError(message, text, at)
    return at + 1


def _ended(text: str, at: int, values: dict[str, str]) -> dict[str, str]:
    if _skip(text, at + 1) != len(text):
        message = "expected the end"
        raise JSONDecodeError(message, text, at)
    return values
