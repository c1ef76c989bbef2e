"""Makes sure that whatever happens to people in the books, the books say what a naive fold says."""

from collections.abc import Sequence
from datetime import timedelta

from beckon.ingest.v1.event_pb2 import Event
from beckon.profile.v1 import identity_service_pb2 as pb
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.integration.profile.test_identity import get, merge, named, unmerge
from tests.integration.profile.world import NOW, Profiles, a_record, an_event, micros
from tests.unit.profile.builders import an_event as a_naive_event
from tests.unit.profile.test_identity import IDS, Naive, Step, ids, steps

TABLES = ("profiles", "contributions", "merges", "history", "answers", "attributes")

identifies = st.tuples(st.just("identify"), ids, ids, st.sampled_from(["alias", "anonymous_id"]))


class Life:
    """People in the books, and the same reckoned naively."""

    def __init__(self, profiles: Profiles) -> None:
        self.profiles = profiles
        self.naive = Naive()
        self.merges: list[pb.Merge] = []
        self.waiting: list[Event] = []
        self.turns = 0

    async def live(self, happened: Sequence[Step], cuts: Sequence[bool]) -> None:
        for at, (step, cut) in enumerate(zip(happened, cuts, strict=True), start=1):
            if step[0] in {"merge", "unmerge"}:
                await self.observe()
                await self.rename(step)
            else:
                self.happen(at, step)
                if cut:
                    await self.observe()
        await self.observe()

    async def rename(self, step: Step) -> None:
        match step:
            case ("merge", one, other) if one != other:
                made = await merge(self.profiles, one, other)
                if other not in self.naive.component(one):
                    self.naive.edges.append((one, other))
                    self.merges.append(made)
            case ("unmerge", which) if int(which) < len(self.merges):
                await unmerge(self.profiles, self.merges.pop(int(which)))
                self.naive.edges.pop(int(which))

    def happen(self, at: int, step: Step) -> None:
        kind, properties = step[0], {}
        match step:
            case ("event", one, kind):
                pass
            case ("write", one, key, value):
                kind, properties = "profile_updated", {key: value or None}
                # Each event of a turn is received at the same instant.
                self.naive.write(self.now_us(), one, key, value)
            case ("identify", one, other, how):
                properties = {how: other}
                self.identify(one, other, how)
            case _:
                raise AssertionError(step)
        occurred = NOW + timedelta(microseconds=at)
        self.waiting.append(
            an_event(f"e{at}", kind=kind, profile=one, occurred=occurred, properties=properties)
        )
        self.naive.events.append(
            a_naive_event(f"e{at}", kind=kind, person=one, occur_us=micros(occurred))
        )

    def identify(self, one: str, other: str, how: str) -> None:
        theirs = self.naive.component(other)
        if one not in theirs and (how == "alias" or len(theirs) == 1):
            self.naive.edges.append((other, one))
            self.merges.append(pb.Merge())

    def now_us(self) -> int:
        return micros(NOW) + (self.turns + 1) * 1000

    async def observe(self) -> None:
        self.turns += 1
        if self.waiting:
            received = NOW + timedelta(milliseconds=self.turns)
            record = a_record(str(self.turns), *self.waiting, received=received)
            await self.profiles.observe(record)
            # A repeat changes nothing, whatever was in it.
            await self.profiles.observe(record)
            self.waiting = []
        await self.name_merges()

    async def name_merges(self) -> None:
        """Learn under which names events have united people."""
        for at, known in enumerate(self.merges):
            if not known.name:
                one, other = self.naive.edges[at]
                request = pb.ListMergesRequest(parent=named(one))
                found = (await self.profiles.identity.ListMerges(request, None)).merges
                self.merges[at] = next(
                    merge
                    for merge in found
                    if (getattr(merge, "from"), merge.into) == (named(one), named(other))
                    and merge.state == pb.Merge.STATE_LIVE
                )


@settings(
    max_examples=examples(25),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(st.data())
async def test_the_books_say_what_a_naive_fold_says(
    profiles: Profiles, data: st.DataObject
) -> None:
    for table in TABLES:
        await profiles.fetch(f"DELETE FROM {table}")
    # What was read of them is no longer there.
    profiles.types._known.clear()
    happened = data.draw(st.lists(st.one_of(steps, identifies), max_size=14))
    cuts = data.draw(st.lists(st.booleans(), min_size=len(happened), max_size=len(happened)))
    life = Life(profiles)

    await life.live(happened, cuts)

    known = {row[0] for row in await profiles.fetch("SELECT profile_id FROM profiles")}
    for one in known:
        shown = await get(profiles, one)
        members = life.naive.component(one)
        assert set(shown.member_ids or [one]) == members
        facts = dict(MessageToDict(shown.attributes))
        assert facts | ({"email": shown.email} if shown.email else {}) == life.naive.facts(one)
        counters = {
            kind: (it.count, it.first_time.ToMicroseconds(), it.last_time.ToMicroseconds())
            for kind, it in shown.counters.items()
        }
        assert counters == life.naive.counters(one)
        seen = shown.first_seen_time.ToMicroseconds(), shown.last_seen_time.ToMicroseconds()
        assert seen == life.naive.seen(one)
    assert all(life.naive.component(one) == {one} for one in set(IDS) - known)
