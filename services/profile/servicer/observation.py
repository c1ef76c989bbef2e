"""What the other services of the mesh ask of profile."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from time import perf_counter

from beckon.profile.v1 import observation_service_pb2 as pb
from beckon.profile.v1 import observation_service_pb2_grpc as rpc

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import invalid_field
from mesh.names import parse_name
from services.profile import rules
from services.profile.convert import answers as convert
from services.profile.convert.moments import micros
from services.profile.convert.records import Record, records, without_forgotten
from services.profile.convert.tokens import is_behind
from services.profile.model import WEEK_US, Event, PersonKey, Refused, Reused, Sorting
from services.profile.model.persons import Observed, Person
from services.profile.rules.gathering import observe_people
from services.profile.rules.identifying import Identified, identify
from services.profile.rules.observing import named_attributes
from services.profile.rules.retention import oldest_week
from services.profile.store import Observations, Turn

PROFILES_MAX = 1000
QUERIES_MAX = 250
# Of one person: a passage that heard more would have ended long before.
FOUND_MAX = 1000

_UNKEEPABLE = Refused("properties_json", "must be JSON that PostgreSQL keeps as jsonb")
_BEHIND = Refused("consistency_token", "stands for a later state of the profile than is known")


class ObservationServicer(rpc.ObservationServiceServicer):
    def __init__(
        self, store: Observations, clock: Clock, *, window: timedelta, weeks_kept: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._weeks_kept = weeks_kept
        self._window_us = window // timedelta(microseconds=1)

    async def ObserveEvents(
        self, request: pb.ObserveEventsRequest, context: object
    ) -> pb.ObserveEventsResponse:
        taken = without_forgotten(records(request), oldest_us=self._oldest_us())
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
        asked = _people(request.profiles)
        known = await self._store.read(set(asked))
        people = [known.get(key) or Person(key) for key in asked]
        values = await self._store.trait_values(known.values())
        return pb.BatchGetStandingsResponse(
            standings=[
                convert.standing(key, person, values.get(person.key, person.profile.traits))
                for key, person in zip(asked, people, strict=True)
            ]
        )

    async def BatchGetAddresses(
        self, request: pb.BatchGetAddressesRequest, context: object
    ) -> pb.BatchGetAddressesResponse:
        asked = _people(request.profiles)
        known = await self._store.read(set(asked))
        devices = await self._store.devices(known.values())
        return pb.BatchGetAddressesResponse(
            addresses=[
                convert.addresses(person, devices.get(person.key, ()))
                for person in (known.get(key) or Person(key) for key in asked)
            ]
        )

    async def BatchFindEvents(
        self, request: pb.BatchFindEventsRequest, context: object
    ) -> pb.BatchFindEventsResponse:
        if not 1 <= len(request.queries) <= QUERIES_MAX:
            raise invalid_field("queries", f"must be 1 to {QUERIES_MAX}")
        sought = [
            (
                parse_name(one.profile, "profiles", field="queries.profile"),
                one.types,
                max(one.since_time_us, 0),
            )
            for one in request.queries
        ]
        return convert.found_events(await self._store.find_events(sought, limit=FOUND_MAX))

    def _oldest_us(self) -> int:
        return oldest_week(micros(self._clock.now()), weeks=self._weeks_kept) * WEEK_US

    async def _observe(
        self, turn: Turn, taken: Sequence[Record], wanted: frozenset[str]
    ) -> convert.Answers:
        """Gather, judge, act: inside one transaction, which may have to be done again."""
        every = [event for record in taken for event in record.events]
        said = identify(every)
        types = await turn.types(named_attributes(every))
        ids = {event.person for event in every} | said.people
        people = await turn.read(ids, uniting=bool(said.claims))
        erased = await turn.find_erased(ids - people.keys())
        edges = await turn.find_edges(said.edges)
        earlier = await turn.find_earlier(every, window_us=self._window_us)
        remembered = await turn.recall([record.place for record in taken])

        repeated = convert.Answers(remembered)
        unsaid = repeated.silent_on((one for one in taken if one.place in remembered), wanted)
        new = [record for record in taken if record.place not in remembered]
        events = [event for record in new for event in record.events]
        forgotten = [one for one in events if one.person in erased] if erased else []
        refusals = _refusals(new, turn.unkeepable, said, people)
        for event in forgotten:
            # What is refused is put aside to be looked at; of the erased nothing is kept.
            refusals.pop(event, None)
        left_out = {*forgotten, *refusals}
        keepable = [one for one in events if one not in left_out] if left_out else events
        sorting = rules.sort_out(keepable, earlier, window_us=self._window_us)
        observed = observe_people(
            people,
            sorting.fresh,
            claims=said.without(erased),
            edges=edges,
            wanted=wanted,
            types=types,
            now=turn.now,
        )

        await turn.write(observed, types)
        await turn.refuse_erased(forgotten, erased)
        asked = [*unsaid, *(one for one in sorting.retried if one.type in wanted)]
        again = {event: people.get(event.person) or Person(event.person) for event in asked}
        values = await turn.trait_values([*again.values(), *(one for _, one in observed.stood)])
        answers = _answer(new, sorting, observed)
        for event, person in observed.stood:
            answers.add_standing(event, person, turn.traits_at(event) or _traits_of(person, values))
        for event, refused in refusals.items():
            answers.add_refusal(convert.place_of(event), event.log_index, refused)
        for event in forgotten:
            answers.add_erased(event)
        await turn.remember(answers.serialized())
        for event, person in again.items():
            # Not for the memory: how the person stands now, which a moment ago was not asked.
            repeated.add_standing(event, person, _traits_of(person, values))
        answers.join(repeated)
        return answers


def _refusals(
    records: Iterable[Record],
    unkeepable: Iterable[Event],
    said: Identified,
    people: Mapping[PersonKey, Person],
) -> dict[Event, Refused]:
    """Return the events that cannot be looked at, and why."""
    refusals = dict.fromkeys(unkeepable, _UNKEEPABLE)
    for record in records:
        for event, token in record.tokens.items():
            if is_behind(people.get(event.person), event.person, token):
                refusals[event] = _BEHIND
        if said.refused:
            theirs = [event for event in record.events if event in said.refused]
            refusals |= {event: said.refused[event] for event in theirs}
    return refusals


def _answer(
    records: Iterable[Record],
    sorting: Sorting,
    observed: Observed,
) -> convert.Answers:
    answers = convert.Answers()
    for record in records:
        for log_index, refused in record.refused.items():
            answers.add_refusal(record.place, log_index, refused)
    for event in sorting.duplicates:
        answers.add_duplicate(event)
    for event in sorting.reused:
        answers.add_refusal(convert.place_of(event), event.log_index, Reused(event.event_id))
    for event, refused in observed.refused:
        answers.add_refusal(convert.place_of(event), event.log_index, refused)
    return answers


def _traits_of(person: Person, values: Mapping[PersonKey, str]) -> str:
    return values.get(person.key, person.profile.traits)


def _people(names: Sequence[str]) -> list[PersonKey]:
    if not 1 <= len(names) <= PROFILES_MAX:
        raise invalid_field("profiles", f"must name 1 to {PROFILES_MAX}")
    return [parse_name(name, "profiles", field="profiles") for name in names]
