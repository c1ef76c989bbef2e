"""Traits: their definitions, what is kept to reckon them, and their values."""

from services.profile.store.traits.advancing import Advance, advance, refresh, values, write
from services.profile.store.traits.counting import Place, place_of
from services.profile.store.traits.definitions import TraitDefinitions, load_traits
from services.profile.store.traits.dues import TraitDues
from services.profile.store.traits.states import erase, reassign
from services.profile.store.traits.walking import TraitWalks

__all__ = [
    "Advance",
    "Place",
    "TraitDefinitions",
    "TraitDues",
    "TraitWalks",
    "advance",
    "erase",
    "load_traits",
    "place_of",
    "reassign",
    "refresh",
    "values",
    "write",
]
