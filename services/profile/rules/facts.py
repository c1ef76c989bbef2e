"""What may be told of a person: attributes within bounds, addresses of the right form."""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

from services.profile.model import Facts, Refused
from services.profile.rules.objects import NotAnObject, join, split

# A page of JSON about one person, and no more keys than anybody can look through: every
# judgement carries all of it.
ATTRIBUTE_BYTES_MAX = 64 * 1024
ATTRIBUTE_KEYS_MAX = 256
ATTRIBUTE_KEY_CHARACTERS_MAX = 128

_UNSET = "null"
# Strings are matched to be passed over.
_EXPONENT = re.compile(r'"(?:[^"\\]|\\.)*"|[eE]([+-]?[0-9]+)')
# Larger ones are beyond any number there is.
_EXPONENT_DIGITS_MAX = 6
# The same forms as in the schema of Profile.
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
_PHONE = re.compile(r"\+[1-9][0-9]{4,14}")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_LOCALE_CHARACTERS_MAX = 35


def revise(facts: Facts, properties: str) -> Facts | Refused:
    """Return the facts after a `profile_updated` with these properties.

    Each key sets an attribute, null unsets it; `email`, `phone`, `time_zone` and
    `locale` set the fields of that name. All of it or nothing: one bad value
    refuses the whole change, so that none gets lost unseen.
    """
    try:
        changes = split(properties)
    except NotAnObject as error:
        return Refused("properties", f"must be a JSON object: {error}")
    reserved: dict[str, str] = {}
    for key in FORMS:
        value = changes.pop(key, None)
        if value is not None:
            text = "" if value == _UNSET else json.loads(value)
            if not isinstance(text, str):
                return Refused(f"properties.{key}", "must be a string or null")
            reserved[key] = text
    revised = facts._replace(**reserved) if reserved else facts
    if changes:
        revised = revised._replace(attributes=_merge(facts.attributes, changes))
    return check_facts(revised, before=facts, prefix="properties.", whole="properties") or revised


def check_facts(
    facts: Facts, *, before: Facts, prefix: str = "", whole: str = "attributes"
) -> Refused | None:
    """Return what is wrong with facts that are to replace `before`; None: nothing.

    Only what changes is looked at, and attributes may always shrink: what was
    accepted once, under whatever bounds, does not stand in the way of other changes.
    A refusal names `prefix` and the field, or `whole` for the attributes together.
    """
    for field, (good, description) in FORMS.items():
        value = getattr(facts, field)
        if value and value != getattr(before, field) and not good(value):
            return Refused(f"{prefix}{field}", description)
    if facts.attributes is before.attributes:
        return None
    return _check_attributes(facts.attributes, before.attributes, whole)


def _merge(attributes: str, changes: dict[str, str]) -> str:
    merged = split(attributes) | changes
    return join({key: value for key, value in merged.items() if value != _UNSET})


def _check_attributes(after: str, before: str, field: str) -> Refused | None:
    values, known = split(after), split(before)
    if len(values) > max(ATTRIBUTE_KEYS_MAX, len(known)):
        return Refused(field, f"the profile would have more than {ATTRIBUTE_KEYS_MAX} attributes")
    size = len(after.encode("utf-8", "surrogatepass")) + _digits_unsaid(after)
    if size > max(ATTRIBUTE_BYTES_MAX, len(before.encode())):
        return Refused(field, f"attributes would exceed {ATTRIBUTE_BYTES_MAX} bytes")
    for key in values.keys() - known.keys():
        if not 0 < len(key) <= ATTRIBUTE_KEY_CHARACTERS_MAX:
            return Refused(field, f"a key must have 1 to {ATTRIBUTE_KEY_CHARACTERS_MAX} characters")
    return None


def _digits_unsaid(text: str) -> int:
    """Return about how many digits PostgreSQL adds: it keeps no exponents, 1e-16000 is 16 KB."""
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
