"""Events that are valid; a test overrides what it is about."""

from uuid import NAMESPACE_OID, uuid5

from services.profile.model import DAY_US, Event

NOW_US = 20_000 * DAY_US


def an_event(
    event_id: str = "e1",
    *,
    kind: str = "order_placed",
    person: str = "ana",
    occur_us: int | None = None,
    receive_us: int = NOW_US,
    properties: str = "{}",
    content: int = 1,
    partition: int = 0,
    position: str = "1",
    index: int = 0,
) -> Event:
    return Event(
        receive_us=receive_us,
        occur_us=receive_us if occur_us is None else occur_us,
        fingerprint=content,
        event_uid=uuid5(NAMESPACE_OID, event_id),
        log_partition=partition,
        log_index=index,
        workspace="acme",
        profile_id=person,
        event_id=event_id,
        type=kind,
        log_position=position,
        properties=properties,
    )
