"""Those who carry messages: a mail relay and webhooks' hosts, behind one port."""

from services.delivery.providers.provider import Email, Provider, Webhook
from services.delivery.providers.smtp import SmtpProvider
from services.delivery.providers.webhook import WebhookProvider

__all__ = ["Email", "Provider", "SmtpProvider", "Webhook", "WebhookProvider"]
