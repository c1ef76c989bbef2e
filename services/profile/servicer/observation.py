"""What the other services of the mesh ask of profile."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from time import perf_counter

from beckon.profile.v1 import observation_service_pb2 as pb
from beckon.profile.v1 import observation_service_pb2_grpc as rpc

from mesh import metrics
from mesh.errors import invalid_field
from mesh.names import parse_name
from services.profile import rules
from services.profile.convert import answers as convert
from services.profile.convert.records import Record, records
from services.profile.model import (
    NOBODY,
    WEEK_US,
    Event,
    Observation,
    PersonKey,
    Profile,
    Refused,
    Reused,
    Sorting,
)
from services.profile.store import Observations, Turn

PROFILES_MAX = 1000

_UNKEEPABLE = Refused("properties_json", "must be JSON that PostgreSQL keeps as jsonb")


class ObservationServicer(rpc.ObservationServiceServicer):
    def __init__(self, store: Observations, *, window: timedelta) -> None:
        self._store = store
        self._window_us = window // timedelta(microseconds=1)

    async def ObserveEvents(
        self, request: pb.ObserveEventsRequest, context: object
    ) -> pb.ObserveEventsResponse:
        taken = records(request)
        wanted = frozenset(request.standing_types)
        weeks = {record.place.receive_us // WEEK_US for record in taken if record.events}

        async def work(turn: Turn) -> convert.Answers:
            return await self._observe(turn, taken, wanted)

        begun = perf_counter()
        answers = await self._store.run(work, weeks=weeks)
        metrics.BATCH_SIZE.labels(worker="observe").observe(sum(one.size for one in taken))
        metrics.BATCH_SECONDS.labels(worker="observe").observe(perf_counter() - begun)
        response = answers.together(taken)
        metrics.EVENTS_DUPLICATE.labels(where="history").inc(len(response.duplicate_events))
        return response

    async def BatchGetStandings(
        self, request: pb.BatchGetStandingsRequest, context: object
    ) -> pb.BatchGetStandingsResponse:
        found = await self._read(request.profiles)
        return pb.BatchGetStandingsResponse(standings=map(convert.standing, found))

    async def BatchGetAddresses(
        self, request: pb.BatchGetAddressesRequest, context: object
    ) -> pb.BatchGetAddressesResponse:
        return convert.addresses(await self._read(request.profiles))

    async def _read(self, names: Sequence[str]) -> list[Profile]:
        if not 1 <= len(names) <= PROFILES_MAX:
            raise invalid_field("profiles", f"must name 1 to {PROFILES_MAX}")
        people = [parse_name(name, "profiles", field="profiles") for name in names]
        known = await self._store.read(set(people))
        return [known.get(person, NOBODY) for person in people]

    async def _observe(
        self, turn: Turn, taken: Sequence[Record], wanted: frozenset[str]
    ) -> convert.Answers:
        """Gather, judge, act: inside one transaction, which may have to be done again."""
        every = [event for record in taken for event in record.events]
        people = await turn.read({event.person for event in every})
        earlier = await turn.find_earlier(every, window_us=self._window_us)
        remembered = await turn.recall([record.place for record in taken])

        repeated = convert.Answers(remembered)
        unsaid = repeated.silent_on((one for one in taken if one.place in remembered), wanted)
        new = [record for record in taken if record.place not in remembered]
        events = [event for record in new for event in record.events]

        unkeepable = turn.unkeepable
        keepable = [one for one in events if one not in unkeepable] if unkeepable else events
        sorting = rules.sort_out(keepable, earlier, window_us=self._window_us)
        observed = {
            person: rules.observe(people.get(person, NOBODY), theirs, wanted=wanted)
            for person, theirs in _by_person(sorting.fresh).items()
        }

        answers = _answer(new, sorting, observed.values(), unkeepable)
        await turn.keep([event for one in observed.values() for event in one.kept])
        await turn.write({key: one.profile for key, one in observed.items() if one.kept}, people)
        await turn.remember(answers.serialized())
        for event in (*unsaid, *(one for one in sorting.retried if one.type in wanted)):
            # Not for the memory: how the person stands now, which a moment ago was not asked.
            repeated.add_standing(event, people.get(event.person, NOBODY))
        answers.join(repeated)
        return answers


def _answer(
    records: Iterable[Record],
    sorting: Sorting,
    observed: Iterable[Observation],
    unkeepable: Iterable[Event],
) -> convert.Answers:
    answers = convert.Answers()
    for record in records:
        for log_index, refused in record.refused.items():
            answers.add_refusal(record.place, log_index, refused)
    for event in unkeepable:
        answers.add_refusal(convert.place_of(event), event.log_index, _UNKEEPABLE)
    for event in sorting.duplicates:
        answers.add_duplicate(event)
    for event in sorting.reused:
        answers.add_refusal(convert.place_of(event), event.log_index, Reused(event.event_id))
    for one in observed:
        for event, refused in one.refused:
            answers.add_refusal(convert.place_of(event), event.log_index, refused)
        for event, profile in one.stood:
            answers.add_standing(event, profile)
    return answers


def _by_person(events: Iterable[Event]) -> dict[PersonKey, list[Event]]:
    people: defaultdict[PersonKey, list[Event]] = defaultdict(list)
    for event in events:
        people[event.person].append(event)
    return people
