"""How traits are reckoned: event by event, and as time passes."""

from services.profile.rules.traits.cells import DISTINCT_MAX, number_of
from services.profile.rules.traits.reckoning import prune, take
from services.profile.rules.traits.values import due, value
from services.profile.rules.traits.windows import known_zone

__all__ = ["DISTINCT_MAX", "due", "known_zone", "number_of", "prune", "take", "value"]
