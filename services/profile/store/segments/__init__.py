"""Segments: their definitions, and who is in them."""

from services.profile.store.segments.building import Building
from services.profile.store.segments.counting import Counting
from services.profile.store.segments.definitions import (
    SEGMENTS_MAX,
    SegmentDefinitions,
    load_segments,
)
from services.profile.store.segments.dues import Dues
from services.profile.store.segments.evaluating import note_before, reevaluate
from services.profile.store.segments.forgetting import erase, forget
from services.profile.store.segments.members import Members

__all__ = [
    "SEGMENTS_MAX",
    "Building",
    "Counting",
    "Dues",
    "Members",
    "SegmentDefinitions",
    "erase",
    "forget",
    "load_segments",
    "note_before",
    "reevaluate",
]
