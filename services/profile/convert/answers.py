"""Answers out: standings, duplicates and refusals, record by record and together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import observation_service_pb2 as pb
from google.rpc.status_pb2 import Status

from mesh.errors import AlreadyExists, to_rpc_status
from services.profile.convert.attributes import refusal as refusal_error
from services.profile.convert.devices import addresses as device_addresses
from services.profile.convert.records import Place, Record
from services.profile.model import Event, PersonKey, Refusal, Refused
from services.profile.model.devices import Device
from services.profile.model.people import FoundEvent
from services.profile.model.persons import Person

_NO_TRAITS = "{}"
_NOTHING: Mapping[Place, bytes] = MappingProxyType({})


class Answers:
    """What is to be answered to each record, by its place."""

    def __init__(self, remembered: Mapping[Place, bytes] = _NOTHING) -> None:
        """Begin with what was answered before."""
        self._by_place: defaultdict[Place, pb.ObserveEventsResponse] = defaultdict(
            pb.ObserveEventsResponse
        )
        for place, answer in remembered.items():
            self._by_place[place].MergeFromString(answer)

    def add_standing(self, event: Event, person: Person, traits: str = _NO_TRAITS) -> None:
        """Say how the person stood just after the event."""
        answer = self._by_place[place_of(event)]
        answer.event_standings[event.log_index] = len(answer.standings)
        answer.standings.append(standing(event.person, person, traits))

    def add_erased(self, event: Event) -> None:
        """Say that the event is of a person who was erased."""
        self._by_place[place_of(event)].erased_events.append(event.log_index)

    def add_duplicate(self, event: Event) -> None:
        """Say that the event was seen before at another place."""
        self._by_place[place_of(event)].duplicate_events.append(event.log_index)

    def add_refusal(self, place: Place, log_index: int, refusal: Refusal) -> None:
        """Say why the event cannot be kept."""
        self._by_place[place].failed_events[log_index].CopyFrom(_status(refusal))

    def serialized(self) -> list[tuple[Place, bytes]]:
        """Return every answer that says something, to be remembered."""
        return [
            (place, answer.SerializeToString(deterministic=True))
            for place, answer in self._by_place.items()
        ]

    def join(self, others: "Answers") -> None:
        """Take over the answers to other records."""
        for place, answer in others._by_place.items():  # noqa: SLF001 — of the same class
            mine = self._by_place[place]
            known = len(mine.standings)
            mine.standings.extend(answer.standings)
            for log_index, at in answer.event_standings.items():
                mine.event_standings[log_index] = known + at
            mine.duplicate_events.extend(answer.duplicate_events)
            mine.erased_events.extend(answer.erased_events)
            for log_index, status in answer.failed_events.items():
                mine.failed_events[log_index].CopyFrom(status)

    def silent_on(self, records: Iterable[Record], wanted: frozenset[str]) -> list[Event]:
        """Return the events of wanted types that were kept and yet have no standing.

        What is wanted may have grown since the first answer was given.
        """
        silent: list[Event] = []
        for record in records:
            answer = self._by_place[record.place]
            said = {
                *answer.event_standings,
                *answer.duplicate_events,
                *answer.failed_events,
                *answer.erased_events,
            }
            silent.extend(
                one for one in record.events if one.type in wanted and one.log_index not in said
            )
        return silent

    def together(self, records: Iterable[Record]) -> pb.ObserveEventsResponse:
        """Return the answer to the whole request."""
        whole = pb.ObserveEventsResponse()
        for record in records:
            answer = self._by_place.get(record.place)
            if answer is None:
                continue
            first, known = record.first_index, len(whole.standings)
            whole.standings.extend(answer.standings)
            for log_index, at in answer.event_standings.items():
                whole.event_standings[first + log_index] = known + at
            whole.duplicate_events.extend(first + one for one in sorted(answer.duplicate_events))
            whole.erased_events.extend(first + one for one in sorted(answer.erased_events))
            for log_index, status in answer.failed_events.items():
                whole.failed_events[first + log_index].CopyFrom(status)
        return whole


def place_of(event: Event) -> Place:
    """Return the place of the event's record."""
    return Place(event.receive_us, event.log_partition, event.log_position)


def standing(asked: PersonKey, person: Person, traits: str = _NO_TRAITS) -> pb.Standing:
    """Return how the person stands who was asked for by that id, without any address."""
    profile, facts = person.profile, person.profile.facts
    message = pb.Standing(
        attributes_json=facts.attributes.encode(),
        time_zone=facts.time_zone,
        locale=facts.locale,
        first_seen_time_us=profile.first_seen_us,
        last_seen_time_us=profile.last_seen_us,
    )
    for kind, (count, first_us, last_us) in profile.counters.items():
        # Filled in where it stands: half the cost of one that is made apart and copied.
        counter = message.counters.add()
        counter.type = kind
        counter.count = count
        counter.first_time_us = first_us
        counter.last_time_us = last_us
    if person.member_ids:
        message.member_ids.extend(person.member_ids)
        message.profile_id = person.key[1] if person.key != asked else ""
    if traits != _NO_TRAITS:
        message.traits_json = traits.encode()
    return message


def addresses(person: Person, devices: Iterable[Device]) -> pb.Addresses:
    """Return where to reach the person; the devices are those to push to."""
    facts = person.profile.facts
    return pb.Addresses(
        email=facts.email, phone=facts.phone, devices=device_addresses(person.key, devices)
    )


def found_events(found: Iterable[Sequence[FoundEvent]]) -> pb.BatchFindEventsResponse:
    """Return what each person did, in the order of the queries."""
    return pb.BatchFindEventsResponse(
        found=[
            pb.BatchFindEventsResponse.Found(events=map(_found_event, events)) for events in found
        ]
    )


def _found_event(event: FoundEvent) -> pb.BatchFindEventsResponse.Event:
    return pb.BatchFindEventsResponse.Event(
        event_id=event.event_id,
        type=event.type,
        occur_time_us=event.occur_us,
        receive_time_us=event.receive_us,
        properties_json=event.properties.encode(),
        profile_id=event.profile_id,
    )


def _status(refusal: Refusal) -> Status:
    match refusal:
        case Refused():
            return to_rpc_status(refusal_error(refusal))
        case _:
            return to_rpc_status(
                AlreadyExists(
                    ErrorReason.ERROR_REASON_EVENT_ID_REUSED,
                    "event_id was used before for an event of other content",
                    metadata={"eventId": refusal.event_id},
                )
            )
