"""Follows people through the regions that campaigns ask about."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from services.trigger.rules import LOCATION_REPORTED, Walk, walk
from services.trigger.store import TurnStore
from services.trigger.worker.batch import Item
from services.trigger.worker.catalogue import Catalogue

_NOWHERE = Walk()


async def follow(items: Sequence[Item], catalogue: Catalogue, store: TurnStore) -> Walk:
    """Return what the reports of locations among the events amount to."""
    reports = [
        item.occurrence
        for item in items
        if item.occurrence.type == LOCATION_REPORTED
        and item.occurrence.workspace in catalogue.places
    ]
    if not reports:
        return _NOWHERE
    known = await store.presences({(event.workspace, event.profile) for event in reports})
    return walk(reports, known, catalogue.places)


def with_crossings(items: Sequence[Item], walked: Walk) -> list[Item]:
    """Return the events with what follows from each right behind it."""
    if not walked.crossings:
        return list(items)
    return [one for item in items for one in (item, *_crossings_of(item, walked))]


def _crossings_of(item: Item, walked: Walk) -> Iterator[Item]:
    for crossing in walked.crossings.get(item.occurrence.uid, ()):
        yield replace(item, occurrence=crossing)
