"""What events come to: each makes a cell, cells are joined in any order, a cell says a number."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from functools import reduce
from hashlib import blake2b
from math import isfinite

from services.profile.model.people import Event
from services.profile.model.traits import Aggregate, Cell, Latest, Number, Trait

# Sums must come out the same in whatever order they are made: numbers are decimal, with so many
# digits before and after the point, and a context that never has to round their sums.
NUMBER_MAX = Decimal(10) ** 18
_PLACES = Decimal("1e-9")
_EXACT = Context(prec=60)
# Whole numbers beyond are not told apart by everybody who reads JSON.
_WHOLE_MAX = 2**53
# Twice what the door lets in; below, values count as one.
_DEPTH_MAX = 64

DISTINCT_MAX = 1000
"""How many values are told apart; more are as many."""


def number_of(content: object) -> Decimal | None:
    """Return a property as a number, to nine decimal places; None: it is none, or too large."""
    if not isinstance(content, int | float) or isinstance(content, bool):
        return None
    if isinstance(content, float) and not isfinite(content):
        return None
    # As it is written: 0.1 is a tenth.
    number = Decimal(repr(content)) if isinstance(content, float) else Decimal(content)
    if abs(number) > NUMBER_MAX:
        return None
    return number.quantize(_PLACES, context=_EXACT).normalize(_EXACT) + 0


def cell_of(trait: Trait, event: Event, properties: Mapping[str, object]) -> Cell | None:
    """Return what one event comes to; None: it does not count."""
    if trait.aggregate is Aggregate.COUNT:
        return 1
    content = properties.get(trait.property)
    if content is None:
        return None
    if trait.aggregate is Aggregate.DISTINCT:
        return frozenset([_hash(content)])
    number = number_of(content)
    if number is None or trait.aggregate is not Aggregate.LAST:
        return number
    return Latest(event.occur_us, event.event_uid.bytes, number)


def join(aggregate: Aggregate, cells: Sequence[Cell]) -> Cell:
    """Return what the cells, one at least, come to together."""
    return reduce(_JOINS[aggregate], cells)


def number(aggregate: Aggregate, cells: Sequence[Cell]) -> Number | None:
    """Return the number that the cells say together; of none what nothing comes to."""
    if not cells:
        return 0 if aggregate in _ZERO_OF_NOTHING else None
    match join(aggregate, cells):
        case Latest() as latest:
            return latest.number
        case frozenset() as values:
            return min(len(values), DISTINCT_MAX)
        case plain:
            return plain


_ZERO_OF_NOTHING = frozenset({Aggregate.COUNT, Aggregate.SUM, Aggregate.DISTINCT})


def _lesser(one: Cell, other: Cell) -> Cell:
    return one if operator.le(one, other) else other


def _greater(one: Cell, other: Cell) -> Cell:
    return one if operator.ge(one, other) else other


# Cells of one trait are of one kind.
_JOINS: Mapping[Aggregate, Callable[..., Cell]] = {
    Aggregate.COUNT: operator.add,
    Aggregate.SUM: _EXACT.add,
    Aggregate.MIN: _lesser,
    Aggregate.MAX: _greater,
    Aggregate.LAST: _greater,
    Aggregate.DISTINCT: operator.or_,
}


def _hash(content: object) -> int:
    text = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"))
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _canonical(content: object, depth: int = 0) -> object:
    """Return the value so that 1, 1.0 and 1e0 are one: PostgreSQL rewrites them."""
    if isinstance(content, Mapping | list):
        if depth == _DEPTH_MAX:
            return "deeper"
        if isinstance(content, list):
            return [_canonical(each, depth + 1) for each in content]
        return {key: _canonical(each, depth + 1) for key, each in content.items()}
    if isinstance(content, float) and content.is_integer() and abs(content) < _WHOLE_MAX:
        return int(content)
    if isinstance(content, int) and not isinstance(content, bool) and abs(content) >= _WHOLE_MAX:
        return _rounded(content)
    return content


def _rounded(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return float("inf") if whole > 0 else float("-inf")
