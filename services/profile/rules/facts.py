"""What may be told of a person: attributes within bounds, addresses of the right form."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from services.profile.model import Facts, Refused
from services.profile.rules.attributes import KEY_FORM, Types, is_key
from services.profile.rules.objects import join, quote, same, split, split_list, unquote
from services.profile.rules.operations import (
    EVENT,
    LIST_ITEMS_MAX,
    PATCH,
    UPDATE,
    Naming,
    Operations,
    operate,
    operations,
)

# A page of JSON about one person, and no more keys than anybody can look through: every
# judgement carries all of it.
ATTRIBUTE_BYTES_MAX = 64 * 1024
ATTRIBUTE_KEYS_MAX = 256

_EMPTY = '""'
# Strings are matched to be passed over.
_EXPONENT = re.compile(r'"(?:[^"\\]|\\.)*"|[eE]([+-]?[0-9]+)')
_MAYBE_EXPONENT = re.compile(r"[0-9][eE]")
# Larger ones are beyond any number there is.
_EXPONENT_DIGITS_MAX = 6
# The same forms as in the schema of Profile.
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
_PHONE = re.compile(r"\+[1-9][0-9]{4,14}")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_LOCALE_CHARACTERS_MAX = 35


def revise(facts: Facts, properties: str, *, at_us: int, types: Types) -> Facts | Refused:
    """Return the facts after a `profile_updated` with these properties.

    Each key sets an attribute, null unsets it; `email`, `phone`, `time_zone` and
    `locale` set the fields of that name; keys like `$increment` hold operations. All of
    it or nothing: one bad value refuses the whole change, so that none gets lost unseen.
    """
    wanted = operations(properties)
    if isinstance(wanted, Refused):
        return wanted
    return patch(facts, wanted, at_us=at_us, types=types, naming=EVENT)


def patch(
    facts: Facts, wanted: Operations, *, at_us: int, types: Types, naming: Naming = PATCH
) -> Facts | Refused:
    """Return the facts after the operations, all of them or none.

    What says the same as before changes nothing: then these very facts are returned.
    """
    values = split(facts.attributes)
    before = values | _fields(facts)
    after = before.copy()
    refused = operate(after, wanted, naming)
    if refused is not None:
        return refused
    for key in FORMS:
        if after.get(key) == _EMPTY:
            del after[key]
    return _settle(facts, before, after, _Change(at_us, types, naming))


def replace(
    facts: Facts, revised: Facts, *, at_us: int, types: Types, naming: Naming = UPDATE
) -> Facts | Refused:
    """Return the facts after all of them were written anew."""
    before = split(facts.attributes) | _fields(facts)
    after: dict[str, str] = {}
    attributes = split(revised.attributes)
    for key, value in attributes.items():
        if key in FORMS:
            return Refused(naming.of("write", key), "is a field of its own")
        after[key] = before[key] if key in before and same(before[key], value) else value
    return _settle(facts, before, after | _fields(revised), _Change(at_us, types, naming))


class _Change(NamedTuple):
    at_us: int
    types: Types
    naming: Naming


def _settle(
    facts: Facts, before: dict[str, str], after: dict[str, str], change: _Change
) -> Facts | Refused:
    """Check what is changed, and only that, and say when it was."""
    changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    if not changed:
        return facts
    naming = change.naming
    written = [(key, after[key]) for key in sorted(changed) if key in after]
    refused = _check_values(written, before, naming)
    if refused is not None:
        return refused
    revised = _facts(after.copy(), _moved(facts, changed, change.at_us))
    if FORMS.keys() >= set(changed):
        return revised._replace(attributes=facts.attributes)
    refused = _check_count(before, after, naming.whole) or _check_size(
        revised.attributes, facts.attributes, naming.whole
    )
    if refused is not None:
        return refused
    attributes = [(key, value) for key, value in written if key not in FORMS]
    return (
        change.types.admit((key, value, naming.of("write", key)) for key, value in attributes)
        or revised
    )


def _moved(facts: Facts, changed: Iterable[str], at_us: int) -> str:
    times = _times(facts)
    for key in changed:
        # Never before what it replaces, though clocks differ: it must win whenever what is
        # known under several ids is put together.
        times[key] = max(at_us, times.get(key, 0) + 1)
    return join({key: str(time) for key, time in times.items()})


def _check_values(
    written: Iterable[tuple[str, str]], before: Mapping[str, str], naming: Naming
) -> Refused | None:
    for key, value in written:
        if key in FORMS:
            good, description = FORMS[key]
            if value[0] != '"':
                return Refused(_field(key, naming), "must be a string or null")
            if not good(unquote(value)):
                return Refused(_field(key, naming), description)
        elif key not in before and not is_key(key):
            return Refused(naming.whole, KEY_FORM)
        elif value[0] == "[" and len(split_list(value)) > _room(before.get(key, "")):
            return Refused(naming.of("write", key), f"a list holds at most {LIST_ITEMS_MAX} items")
    return None


def _room(before: str) -> int:
    """Return how many items a list may have; one that has more may shrink."""
    return max(LIST_ITEMS_MAX, len(split_list(before)) if before.startswith("[") else 0)


def _field(key: str, naming: Naming) -> str:
    # In an update they stand beside the attributes.
    return naming.of("write", key).replace("profile.attributes.", "profile.", 1)


def _check_count(before: Mapping[str, str], after: Mapping[str, str], field: str) -> Refused | None:
    if len(after) <= ATTRIBUTE_KEYS_MAX:
        return None
    if len(after.keys() - FORMS.keys()) > max(
        ATTRIBUTE_KEYS_MAX, len(before.keys() - FORMS.keys())
    ):
        return Refused(field, f"the profile would have more than {ATTRIBUTE_KEYS_MAX} attributes")
    return None


def _check_size(after: str, before: str, field: str) -> Refused | None:
    """Return whether it is too much; attributes may always shrink.

    What was accepted once, under whatever bounds, does not stand in the way of other changes.
    """
    size = len(after.encode("utf-8", "surrogatepass")) + _digits_unsaid(after)
    if size > max(ATTRIBUTE_BYTES_MAX, len(before.encode())):
        return Refused(field, f"attributes would exceed {ATTRIBUTE_BYTES_MAX} bytes")
    return None


def _fields(facts: Facts) -> dict[str, str]:
    """Return the fields that are set, as JSON texts like attributes."""
    given = {key: getattr(facts, key) for key in FORMS}
    return {key: quote(value) for key, value in given.items() if value}


def _facts(values: dict[str, str], times: str) -> Facts:
    fields: dict[str, str] = {key: unquote(values.pop(key)) for key in FORMS if key in values}
    return Facts(attributes=join(values), times=times, **fields)


def _times(facts: Facts) -> dict[str, int]:
    times: dict[str, int] = json.loads(facts.times)
    return times


def _digits_unsaid(text: str) -> int:
    """Return about how many digits PostgreSQL adds: it keeps no exponents, 1e-16000 is 16 KB."""
    if not _MAYBE_EXPONENT.search(text):
        return 0
    exponents = (match[1].lstrip("+-0") for match in _EXPONENT.finditer(text) if match[1])
    return sum(int(one[:_EXPONENT_DIGITS_MAX] or 0) for one in exponents)


@cache
def _zones() -> frozenset[str]:
    # Those of the package, not of the machine: every replica must say the same, and a machine
    # may know names (`localtime`) that mean something else on the next.
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _is_email(value: str) -> bool:
    return _EMAIL.fullmatch(value) is not None


def _is_phone(value: str) -> bool:
    return _PHONE.fullmatch(value) is not None


def _is_zone(value: str) -> bool:
    return value in _zones()


def _is_locale(value: str) -> bool:
    return len(value) <= _LOCALE_CHARACTERS_MAX and _LOCALE.fullmatch(value) is not None


FORMS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "email": (_is_email, "must be an e-mail address"),
    "phone": (_is_phone, "must be a number in E.164 form: +4917012345"),
    "time_zone": (_is_zone, "must be an IANA time zone: Europe/Berlin"),
    "locale": (_is_locale, "must be a BCP 47 tag: pt-BR"),
}
"""Facts that are fields of their own: what makes each good, and how to say that it is not."""
