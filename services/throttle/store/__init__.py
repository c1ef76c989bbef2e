"""What throttle remembers: consent and caps in PostgreSQL, places in Redis."""

from services.throttle.store.caps import Caps
from services.throttle.store.identities import Identities
from services.throttle.store.places import Moved, Places
from services.throttle.store.subscriptions import Subscriptions

__all__ = ["Caps", "Identities", "Moved", "Places", "Subscriptions"]
