"""Events as traits look at them: properties decoded once, filters judged over one context."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

import msgspec

from mesh.expressions import (
    Context,
    EventFacts,
    Expression,
    ExpressionFailed,
    compile_event_expression,
    make_event_context,
)
from services.profile.model.people import Event
from services.profile.model.traits import Trait

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Mapping[str, object] = MappingProxyType({})
# A hundred a workspace; what falls out is compiled again, at 130 us.
_FILTERS_MAX = 10_000


@lru_cache(maxsize=_FILTERS_MAX)
def compile_trait_filter(source: str) -> Expression:
    """Return the filter of a trait, compiled once.

    Raises:
        InvalidArgument: It does not compile, or costs too much.
    """
    return compile_event_expression(source)


class Candidate:
    """One event that some trait wants."""

    __slots__ = ("_context", "_properties", "event")

    def __init__(self, event: Event) -> None:
        """Take the event; nothing is decoded until it is asked for."""
        self.event = event
        self._properties: Mapping[str, object] | None = None
        self._context: Context | None = None

    def matches(self, trait: Trait) -> bool:
        """Say whether the filter of the trait lets the event through.

        One that it fails on does not count.
        """
        if not trait.filter:
            return True
        try:
            return compile_trait_filter(trait.filter).matches(self._judged())
        except ExpressionFailed:
            return False

    def properties_for(self, trait: Trait) -> Mapping[str, object]:
        """Return the properties, if the trait reads one."""
        return self._decoded() if trait.property else _NOTHING

    def _judged(self) -> Context:
        if self._context is None:
            event = self.event
            moment = _EPOCH + timedelta(microseconds=event.occur_us)
            self._context = make_event_context(
                EventFacts(event.event_id, event.type, moment, self._decoded())
            )
        return self._context

    def _decoded(self) -> Mapping[str, object]:
        if self._properties is None:
            self._properties = _decode(self.event.properties)
        return self._properties


def _decode(properties: str) -> Mapping[str, object]:
    try:
        content = _decode_any(properties)
    except (ValueError, RecursionError):
        # Longer numbers or deeper nesting than can be read: nothing a trait could count.
        return _NOTHING
    return content if isinstance(content, dict) else _NOTHING


def _decode_any(properties: str) -> object:
    try:
        return msgspec.json.decode(properties)
    except msgspec.DecodeError:
        # It refuses 1e999, which is JSON all the same.
        return json.loads(properties)
