"""What a part of a filter is in SQL, and how two parts are compared."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

JsonScalar: TypeAlias = str | int | float | bool | None


class Kind(Enum):
    """What a term gives."""

    BOOL = auto()
    INT = auto()
    """`numeric` in SQL, without a fraction."""
    DOUBLE = auto()
    """`numeric` in SQL, or `double precision` where it was reckoned."""
    TEXT = auto()
    TIME = auto()
    """Microseconds since the epoch."""
    SPAN = auto()
    """Microseconds."""
    JSON = auto()
    """`jsonb`: whatever it is turns out row by row; NULL where it is missing."""
    LIST = auto()
    """Of literals."""


NUMBERS = (Kind.INT, Kind.DOUBLE)


@dataclass(frozen=True, slots=True)
class Term:
    """SQL that gives a value, or NULL where CEL gives an error."""

    kind: Kind
    sql: str
    text: str = ""
    """Of JSON: SQL that gives a string without its quotes."""
    literal: tuple[JsonScalar, ...] | None = None
    """The value, or those of a list, where it stands in the filter."""
    json: str = ""
    """Of a literal: SQL that gives it as `jsonb`."""
    floating: bool = False
    """`double precision` in SQL."""
    now: int = 0
    """How often `now` is to be added to what the SQL gives."""

    @property
    def is_json(self) -> bool:
        """Whether its type turns out row by row."""
        return self.kind is Kind.JSON


def json_term(sql: str) -> Term:
    """Return a term of SQL that gives `jsonb`."""
    return Term(Kind.JSON, sql, f"({sql} #>> '{{}}')")


def field_term(holder: Term, key: str) -> Term:
    """Return what a map holds under a key."""
    return Term(Kind.JSON, f"({holder.sql} -> {key})", f"({holder.sql} ->> {key})")


def as_bool(term: Term) -> str:
    """Return SQL for a bool, NULL where JSON is none."""
    if term.kind is Kind.BOOL:
        return term.sql
    return f"CASE WHEN jsonb_typeof({term.sql}) = 'boolean' THEN {term.sql} = 'true' END"


def as_number(term: Term) -> str:
    """Return SQL for a `numeric`, NULL where JSON is none."""
    if not term.is_json:
        return term.sql
    return f"cel_number({term.sql})"


def as_float(term: Term) -> str:
    """Return SQL for a number in `double precision`, NULL where it is none or too large."""
    if term.floating:
        return term.sql
    return f"cel_float({as_number(term)})"


def equal(one: Term, other: Term) -> str:
    """Return SQL for `==`: of other types, two values are merely not equal."""
    if one.is_json and other.is_json:
        return f"({one.sql} = {other.sql})"
    if other.is_json:
        one, other = other, one
    if not one.is_json:
        return _compare_same("=", one, other)
    if other.json:
        return f"({one.sql} = {other.json})"
    if other.floating:
        return (
            f"CASE WHEN jsonb_typeof({one.sql}) = 'number' THEN {as_float(one)} = {other.sql}"
            f" WHEN {one.sql} IS NOT NULL AND {other.sql} IS NOT NULL THEN false END"
        )
    return f"({one.sql} = to_jsonb({other.sql}))"


def ordered(sign: str, one: Term, other: Term) -> str:
    """Return SQL for `<`, `<=`, `>` or `>=`: NULL where types do not fit."""
    if one.is_json and other.is_json:
        a, b = one.sql, other.sql
        return (
            f"CASE WHEN jsonb_typeof({a}) = 'number' AND jsonb_typeof({b}) = 'number'"
            f" THEN ({a})::numeric {sign} ({b})::numeric"
            f" WHEN jsonb_typeof({a}) = 'string' AND jsonb_typeof({b}) = 'string'"
            f' THEN ({one.text}) COLLATE "C" {sign} ({other.text}) COLLATE "C"'
            f" WHEN jsonb_typeof({a}) = 'boolean' AND jsonb_typeof({b}) = 'boolean'"
            f" THEN ({a})::boolean {sign} ({b})::boolean END"
        )
    if other.is_json:
        return ordered(_TURNED[sign], other, one)
    if not one.is_json:
        return _compare_same(sign, one, other)
    if other.kind in NUMBERS:
        number = as_float(one) if other.floating else f"({one.sql})::numeric"
        return _when("number", one.sql, f"{number} {sign} {other.sql}")
    if other.kind is Kind.TEXT:
        return _when("string", one.sql, f'({one.text}) COLLATE "C" {sign} {other.sql}')
    return _when("boolean", one.sql, f"({one.sql})::boolean {sign} {other.sql}")


_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def turned(sign: str) -> str:
    """Return the sign that says the same with the sides exchanged."""
    return _TURNED.get(sign, sign)


def _when(kind: str, value: str, then: str) -> str:
    return f"CASE WHEN jsonb_typeof({value}) = '{kind}' THEN {then} END"


def _compare_same(sign: str, one: Term, other: Term) -> str:
    if one.kind in NUMBERS and one.floating != other.floating:
        return f"({as_float(one)} {sign} {as_float(other)})"
    if one.kind is Kind.TEXT:
        return f'(({one.sql}) COLLATE "C" {sign} {other.sql})'
    return f"({one.sql} {sign} {other.sql})"
