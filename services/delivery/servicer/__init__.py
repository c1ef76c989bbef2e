"""What delivery can be asked."""

from services.delivery.servicer.deliveries import DeliveryServicer, Lanes
from services.delivery.servicer.erasure import ErasureServicer
from services.delivery.servicer.templates import TemplateServicer

__all__ = ["DeliveryServicer", "ErasureServicer", "Lanes", "TemplateServicer"]
