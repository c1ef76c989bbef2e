"""What delivery does unasked: send what is queued, tell what ended, keep the house."""

from services.delivery.worker.janitor import Janitor
from services.delivery.worker.lane import Lane, LaneLimits
from services.delivery.worker.prepare import EmailPreparer, Prepared, Preparer, WebhookPreparer
from services.delivery.worker.relay import Relay
from services.delivery.worker.settler import Settler
from services.delivery.worker.sources import Sources
from services.delivery.worker.workers import Workers

__all__ = [
    "EmailPreparer",
    "Janitor",
    "Lane",
    "LaneLimits",
    "Prepared",
    "Preparer",
    "Relay",
    "Settler",
    "Sources",
    "WebhookPreparer",
    "Workers",
]
