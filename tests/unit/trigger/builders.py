"""Values to judge, valid until a test says otherwise."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mesh.ids import event_uid
from services.trigger.model import (
    CampaignState,
    Occurrence,
    Person,
    Plan,
    Trace,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def an_occurrence(
    type_: str = "cart_filled",
    *,
    event_id: str = "e",
    profile: str = "ana",
    at: datetime = NOW,
    received: datetime | None = None,
    **properties: Any,
) -> Occurrence:
    """Return an event; received when it occurred unless told."""
    return Occurrence(
        uid=event_uid("acme", event_id),
        event_id=event_id,
        type=type_,
        workspace="acme",
        profile=profile,
        occur_time=at,
        receive_time=received or at,
        properties=properties,
        properties_json=b"{}",
        trace=Trace(b"\x01" * 16, None, sampled=False),
    )


def a_person(profile: str = "ana", last_times: dict[str, datetime] | None = None) -> Person:
    """Return a person who did what `last_times` says, once each."""
    times = last_times or {}
    return Person(
        profile=profile,
        attributes={},
        counts=dict.fromkeys(times, 1),
        last_times=times,
        time_zone="",
        locale="",
        first_seen_time=min(times.values(), default=None),
        last_seen_time=max(times.values(), default=None),
    )


def a_plan(**given: Any) -> Plan:
    """Return an active campaign that sends at once and once."""
    values: dict[str, Any] = {
        "workspace": "acme",
        "campaign": "cart",
        "state": CampaignState.ACTIVE,
        "version": 1,
        "trigger_type": "cart_filled",
        "delay": timedelta(0),
    }
    return Plan(**{**values, **given})
