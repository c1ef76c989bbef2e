"""What throttle can be asked, one file a proto service."""

from services.throttle.servicer.caps import FrequencyCapServicer
from services.throttle.servicer.identities import IdentityServicer
from services.throttle.servicer.subscriptions import SubscriptionServicer
from services.throttle.servicer.throttle import ThrottleServicer

__all__ = ["FrequencyCapServicer", "IdentityServicer", "SubscriptionServicer", "ThrottleServicer"]
