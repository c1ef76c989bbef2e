"""Decides what may go out. Pure: values and `now` in, values out."""

from services.throttle.rules.caps import CAPS_MAX, NEWEST_MAX, breached, cap_verdict, used
from services.throttle.rules.consent import all_channels, consent_verdict
from services.throttle.rules.limits import Limits
from services.throttle.rules.places import KEPT, LEASE_BEYOND, place_for, reserve, settle
from services.throttle.rules.windows import calendar_window, instant, micros, span_us

__all__ = [
    "CAPS_MAX",
    "KEPT",
    "LEASE_BEYOND",
    "NEWEST_MAX",
    "Limits",
    "all_channels",
    "breached",
    "calendar_window",
    "cap_verdict",
    "consent_verdict",
    "instant",
    "micros",
    "place_for",
    "reserve",
    "settle",
    "span_us",
    "used",
]
