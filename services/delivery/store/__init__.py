"""What delivery remembers, in PostgreSQL: the queue with its outbox, and the templates."""

from services.delivery.store.deliveries import DeliveryStore, ListFilter
from services.delivery.store.erasure import ErasureStore
from services.delivery.store.outbox import Outbox
from services.delivery.store.templates import TemplateStore

__all__ = ["DeliveryStore", "ErasureStore", "ListFilter", "Outbox", "TemplateStore"]
