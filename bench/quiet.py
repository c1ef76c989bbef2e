"""Profile, throttle and delivery as trigger sees them, answering at once from answers made beforehand."""

from collections.abc import Iterable, Mapping, Sequence
from time import process_time
from uuid import UUID

from beckon.ingest.v1.event_pb2 import LogRecord
from beckon.profile.v1.observation_service_pb2 import Standing
from beckon.throttle.v1.throttle_service_pb2 import ReserveSendsRequest, Send

from services.trigger.clients import Observed
from services.trigger.convert.events import to_person
from services.trigger.convert.sends import to_delivery
from services.trigger.convert.watches import Watches
from services.trigger.model import (
    Allowed,
    DigestContent,
    Enrollment,
    Key,
    Occurrence,
    Person,
    ThrottleVerdict,
)


class QuietProfile:
    """Knows of the records that it was shown; everybody stands alike."""

    def __init__(self) -> None:
        """Know nobody."""
        self.standing = Standing(
            attributes_json=b'{"tier": "gold", "city": "Berlin", "age": 33}',
            time_zone="Europe/Berlin",
            counters=[
                Standing.Counter(type=f"type_{n}", count=n, first_time_us=1, last_time_us=2)
                for n in range(8)
            ],
            first_seen_time_us=1,
            last_seen_time_us=2,
        )
        self.spent = 0.0
        """CPU seconds of answering: they are not trigger's."""
        self._types: dict[bytes, list[str]] = {}

    def show(self, payloads: Iterable[bytes]) -> None:
        """Read records that trigger will ask about."""
        for payload in payloads:
            self._types[payload] = [event.type for event in LogRecord.FromString(payload).events]

    async def observe(
        self, records: Sequence[tuple[int, str, bytes]], standing_types: Sequence[str]
    ) -> Observed:
        begun = process_time()
        wanted = frozenset(standing_types)
        numbers: dict[int, tuple[int, Standing]] = {}
        number = 0
        for _, _, payload in records:
            for type_ in self._types[payload]:
                if type_ in wanted:
                    numbers[number] = (number, self.standing)
                number += 1
        self.spent += process_time() - begun
        return Observed(numbers, frozenset(), {})

    async def people(self, profiles: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Person]:
        return {name: to_person(name[1], self.standing) for name in profiles}

    async def events(self, queries: Sequence[object]) -> list[list[Occurrence]]:
        return [[] for _ in queries]

    async def set_watches(self, workspace: str, version: int, watches: Watches) -> int:
        return version


class QuietThrottle:
    """Allows everything; the request is made, as for a call."""

    async def reserve(self, sends: Sequence[Send]) -> list[ThrottleVerdict]:
        ReserveSendsRequest(sends=sends).SerializeToString()
        return [Allowed()] * len(sends)


class QuietDelivery:
    """Takes everything; the request is made, as for a call."""

    async def create(
        self,
        sends: Sequence[tuple[Send, Enrollment, Person]],
        digests: Mapping[tuple[Key, UUID], DigestContent],
    ) -> None:
        for send, passage, person in sends:
            digest = digests.get((passage.key, passage.event.uid))
            to_delivery(send, passage, person, digest).SerializeToString()

    async def count(self, broadcast: UUID) -> tuple[int, dict[str, int]]:
        return 0, {}
