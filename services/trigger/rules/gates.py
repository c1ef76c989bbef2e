"""Gates that were asked, as they are put on record."""

from datetime import datetime

from services.trigger.model import Gate


def passed(name: str, detail: str, now: datetime) -> Gate:
    """Return the record of a gate that let the message on."""
    return Gate(name=name, passed=True, detail=detail, time=now)


def refused(name: str, detail: str, now: datetime) -> Gate:
    """Return the record of a gate that did not."""
    return Gate(name=name, passed=False, detail=detail, time=now)
