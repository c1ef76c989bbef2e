"""Makes sure of segments on a real database: each call, who goes in and out, and when.

By events, by attributes and by time alone, beside walks that build and beside other replicas.
"""

import asyncio
from datetime import timedelta

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import segment_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import Aborted, AlreadyExists, InvalidArgument, MeshError, NotFound
from mesh.server import Stopping
from tests.integration.profile.segmenting import WORKSPACE, Segments
from tests.integration.profile.world import NOW, Profiles, a_record, an_event, micros
from tests.waiting import eventually

GOLD = 'profile.attributes.plan == "gold"'
ENTERED, EXITED = "segment_entered", "segment_exited"


@pytest.fixture
def segments(profiles: Profiles) -> Segments:
    return Segments(profiles)


async def test_a_segment_is_building_until_all_were_looked_at(segments: Segments) -> None:
    await segments.update("ana", plan="gold")
    await segments.update("bea", plan="free")

    created = await segments.create("vip", GOLD)
    await segments.build()

    built = await segments.get("vip")
    assert created.state == pb.Segment.STATE_BUILDING
    assert created.build_progress == 0
    assert built.state == pb.Segment.STATE_ACTIVE
    assert built.build_progress == 1
    assert built.member_count == 1
    assert await segments.members("vip") == ["ana"]


async def test_who_is_in_from_the_beginning_has_entered_without_an_event(
    segments: Segments,
) -> None:
    await segments.update("ana", plan="gold")

    await segments.made("vip", GOLD)

    assert await segments.said() == []
    assert (await segments.membership("vip")).enter_time.ToDatetime() == NOW.replace(tzinfo=None)


async def test_going_in_and_out_writes_events(segments: Segments) -> None:
    await segments.made("vip", GOLD)

    await segments.update(plan="gold")
    await segments.update(plan="gold", age=3)
    await segments.update(plan="free")

    assert await segments.said() == [(ENTERED, "ana", "vip"), (EXITED, "ana", "vip")]
    assert await segments.members("vip") == []


async def test_each_coming_and_going_is_an_event_of_its_own(segments: Segments) -> None:
    await segments.made("vip", GOLD)

    for plan in ("gold", "free", "gold", "free"):
        await segments.update(plan=plan)

    ids = {event.event_id for _, event in await segments.owed.oldest(100)}
    assert len(ids) == 4


async def test_a_new_person_who_belongs_enters(segments: Segments) -> None:
    await segments.made("shy", 'profile.locale == ""')

    await segments.happen("app_opened")

    assert await segments.said() == [(ENTERED, "ana", "shy")]


async def test_what_has_nothing_to_do_with_a_segment_is_not_looked_at(segments: Segments) -> None:
    await segments.made("vip", GOLD)
    await segments.happen("app_opened")
    # Not by a turn: only looking would notice.
    await segments.profiles.fetch('UPDATE profiles SET attributes = \'{"plan": "gold"}\'')

    await segments.happen("app_opened")
    await segments.update(age=3)

    assert await segments.members("vip") == []


async def test_a_membership_says_why(segments: Segments) -> None:
    await segments.update(plan="gold", age=20)
    await segments.made(
        "vip", f"{GOLD} && (profile.attributes.age > 30 || !has(profile.attributes.vip)) && true"
    )

    found = await segments.membership("vip")

    assert found.member
    assert [(one.expression, one.holds, one.unknown) for one in found.conditions] == [
        (GOLD, True, False),
        ("profile.attributes.age > 30", False, False),
        ("!has(profile.attributes.vip)", True, False),
        ("true", True, False),
    ]


async def test_a_condition_on_what_is_missing_is_unknown(segments: Segments) -> None:
    await segments.happen("app_opened")
    await segments.made("vip", GOLD)

    found = await segments.membership("vip")

    assert not found.member
    assert [one.unknown for one in found.conditions] == [True]


async def test_nobody_stands_to_no_segment(segments: Segments) -> None:
    await segments.made("vip", GOLD)

    with pytest.raises(NotFound):
        await segments.membership("vip", "nobody")
    with pytest.raises(NotFound):
        await segments.get("none")


async def test_members_are_listed_page_by_page(segments: Segments) -> None:
    people = [f"p{at}" for at in range(5)]
    for person in people:
        await segments.update(person, plan="gold")
    await segments.made("vip", GOLD)

    found, token = [], ""
    while True:
        page = await segments.servicer.ListSegmentMembers(
            pb.ListSegmentMembersRequest(
                name=f"{WORKSPACE}/segments/vip", page_size=2, page_token=token
            ),
            None,
        )
        found += [one.profile.rpartition("/")[2] for one in page.members]
        token = page.next_page_token
        if not token:
            break

    assert found == people


async def test_a_stream_goes_on_after_whom_it_had_reached(segments: Segments) -> None:
    for person in ("a", "b", "c"):
        await segments.update(person, plan="gold")
    await segments.made("vip", GOLD)

    request = pb.StreamSegmentMembersRequest(
        name=f"{WORKSPACE}/segments/vip", after=f"{WORKSPACE}/profiles/a"
    )
    found = [one async for one in segments.servicer.StreamSegmentMembers(request, None)]

    assert [each.profile for one in found for each in one.members] == [
        f"{WORKSPACE}/profiles/b",
        f"{WORKSPACE}/profiles/c",
    ]


async def test_a_filter_is_counted_saved_or_not(segments: Segments) -> None:
    for person, plan in (("a", "gold"), ("b", "free"), ("c", "gold")):
        await segments.update(person, plan=plan)

    found = await segments.servicer.CountSegmentMembers(
        pb.CountSegmentMembersRequest(parent=WORKSPACE, filter=GOLD), None
    )

    assert (found.count, found.profile_count) == (2, 3)


async def test_segments_are_listed_by_id(segments: Segments) -> None:
    for name in ("b", "a", "c"):
        await segments.create(name, GOLD)

    first = await segments.servicer.ListSegments(
        pb.ListSegmentsRequest(parent=WORKSPACE, page_size=2), None
    )
    second = await segments.servicer.ListSegments(
        pb.ListSegmentsRequest(parent=WORKSPACE, page_size=2, page_token=first.next_page_token),
        None,
    )

    names = [one.name.rpartition("/")[2] for one in (*first.segments, *second.segments)]
    assert names == ["a", "b", "c"]
    assert not second.next_page_token


async def test_creating_an_equal_one_returns_it(segments: Segments) -> None:
    first = await segments.create("vip", GOLD)

    assert await segments.create("vip", GOLD) == first
    with pytest.raises(AlreadyExists):
        await segments.create("vip", "true")


@pytest.mark.parametrize(
    ("filter_", "what"),
    [
        ("profile.attributes.plan ==", "line 1, column 27"),
        ("profile.attributes.a.map(x, x) == [1]", "of the macros only exists, all and has"),
        ('profile.attributes.n.matches("(a+)+")', "a repeat inside a repeat"),
        ("now.getFullYear() > 2025", "getFullYear is not available"),
        ("profile.attributes.at > now", "write timestamp(…)"),
        ('event_count("x", duration("9999h")) > 1', "to 366 days"),
        ("profile.attributes.age", ""),
        ("profile.traits.unknown > 3", "which is no trait"),
        ('"a"', "gives"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(
    segments: Segments, filter_: str, what: str
) -> None:
    if not what:
        # An attribute may be a bool.
        await segments.create("vip", filter_)
        return

    with pytest.raises(InvalidArgument) as refused:
        await segments.create("vip", filter_)

    assert what in refused.value.message
    assert refused.value.violations[0].field == "segment.filter"


async def test_another_filter_is_built_anew_without_events(segments: Segments) -> None:
    await segments.update("ana", plan="gold")
    await segments.update("bea", plan="free")
    await segments.made("vip", GOLD)

    changed = await segments.servicer.UpdateSegment(
        pb.UpdateSegmentRequest(
            segment=pb.Segment(
                name=f"{WORKSPACE}/segments/vip", filter='profile.attributes.plan == "free"'
            ),
            update_mask=FieldMask(paths=["filter"]),
        ),
        None,
    )
    await segments.build()

    assert changed.state == pb.Segment.STATE_BUILDING
    assert await segments.members("vip") == ["bea"]
    assert await segments.said() == []
    rows = await segments.profiles.fetch("SELECT person_id FROM segment_members")
    assert [row[0] for row in rows] == ["bea"]


async def test_another_description_is_not_built_anew(segments: Segments) -> None:
    await segments.made("vip", GOLD)
    name = f"{WORKSPACE}/segments/vip"

    changed = await segments.servicer.UpdateSegment(
        pb.UpdateSegmentRequest(segment=pb.Segment(name=name, description="Our best")), None
    )

    assert changed.state == pb.Segment.STATE_ACTIVE
    assert changed.description == "Our best"
    assert changed.filter == GOLD


async def test_an_old_etag_changes_nothing(segments: Segments) -> None:
    created = await segments.create("vip", GOLD)
    name = created.name
    update = pb.Segment(name=name, description="Our best", etag=created.etag)
    await segments.servicer.UpdateSegment(pb.UpdateSegmentRequest(segment=update), None)

    # The same again is the repeat of an update whose answer was lost.
    again = await segments.servicer.UpdateSegment(pb.UpdateSegmentRequest(segment=update), None)
    update.description = "Others"
    with pytest.raises(Aborted):
        await segments.servicer.UpdateSegment(pb.UpdateSegmentRequest(segment=update), None)

    assert again.description == "Our best"


async def test_an_update_may_create(segments: Segments) -> None:
    update = pb.Segment(name=f"{WORKSPACE}/segments/vip", filter=GOLD)

    with pytest.raises(NotFound):
        await segments.servicer.UpdateSegment(pb.UpdateSegmentRequest(segment=update), None)
    made = await segments.servicer.UpdateSegment(
        pb.UpdateSegmentRequest(segment=update, allow_missing=True), None
    )

    assert made.filter == GOLD


async def test_a_deleted_segment_leaves_nothing_and_tells_nobody(segments: Segments) -> None:
    await segments.update(plan="gold")
    await segments.made("vip", GOLD)
    request = pb.DeleteSegmentRequest(name=f"{WORKSPACE}/segments/vip")

    await segments.servicer.DeleteSegment(request, None)
    await segments.build()

    assert await segments.said() == []
    assert await segments.profiles.fetch("SELECT FROM segment_members") == []
    assert await segments.profiles.fetch("SELECT FROM segment_removals") == []
    with pytest.raises(NotFound):
        await segments.servicer.DeleteSegment(request, None)
    request.allow_missing = True
    await segments.servicer.DeleteSegment(request, None)


async def test_there_are_only_so_many_segments(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.profile.store.segments.definitions.SEGMENTS_MAX", 1)
    await segments.create("vip", GOLD)

    with pytest.raises(MeshError) as refused:
        await segments.create("two", GOLD)

    assert refused.value.reason == ErrorReason.ERROR_REASON_LIMIT_REACHED


# Time.


async def test_who_is_silent_for_30_days_enters_to_the_second(segments: Segments) -> None:
    await segments.made("silent", 'profile.last_seen_time <= now - duration("720h")')
    await segments.happen("app_opened")

    await segments.after(timedelta(days=30) - timedelta(seconds=1))
    early = await segments.said()
    await segments.after(timedelta(seconds=1))

    assert early == []
    assert await segments.said() == [(ENTERED, "ana", "silent")]


async def test_who_comes_back_is_silent_30_days_later(segments: Segments) -> None:
    await segments.made("silent", 'profile.last_seen_time <= now - duration("720h")')
    await segments.happen("app_opened")
    await segments.after(timedelta(days=29))
    await segments.happen("app_opened")

    await segments.after(timedelta(days=29))
    early = await segments.said()
    await segments.after(timedelta(days=1))
    await segments.happen("app_opened")

    assert early == []
    assert await segments.said() == [(ENTERED, "ana", "silent"), (EXITED, "ana", "silent")]


TRIAL = (
    'timestamp(profile.attributes.trial_end) - now <= duration("72h")'
    " && now < timestamp(profile.attributes.trial_end)"
)


async def test_three_days_before_the_trial_ends_she_enters_at_its_end_she_leaves(
    segments: Segments,
) -> None:
    await segments.made("ending", TRIAL)
    await segments.update(trial_end="2026-12-02T12:00:00Z")

    await segments.after(timedelta(days=7) - timedelta(seconds=1))
    early = await segments.said()
    await segments.after(timedelta(seconds=1))
    entered = await segments.said()
    await segments.after(timedelta(days=3))

    assert early == []
    assert entered == [(ENTERED, "ana", "ending")]
    assert await segments.said() == [(ENTERED, "ana", "ending"), (EXITED, "ana", "ending")]


async def test_when_the_date_moves_the_time_moves(segments: Segments) -> None:
    await segments.made("ending", TRIAL)
    await segments.update(trial_end="2026-12-22T12:00:00Z")
    await segments.update(trial_end="2026-12-02T12:00:00Z")

    await segments.after(timedelta(days=7))
    sooner = await segments.said()
    await segments.update(trial_end="2026-12-22T12:00:00Z")
    await segments.after(timedelta(days=19))
    later = await segments.said()
    await segments.after(timedelta(days=1))

    assert sooner == [(ENTERED, "ana", "ending")]
    assert later == [*sooner, (EXITED, "ana", "ending")]
    assert await segments.said() == [*later, (ENTERED, "ana", "ending")]


async def test_events_leave_the_window_one_by_one(segments: Segments) -> None:
    await segments.made("busy", 'event_count("app_opened", duration("24h")) >= 2')
    await segments.happen("app_opened")
    await segments.after(timedelta(hours=10))
    await segments.happen("app_opened")

    await segments.after(timedelta(hours=14) - timedelta(seconds=1))
    before = await segments.members("busy")
    await segments.after(timedelta(seconds=1))

    assert before == ["ana"]
    assert await segments.members("busy") == []


async def test_a_sum_counts_what_numbers_there_are(segments: Segments) -> None:
    await segments.made("spending", 'event_sum("order", "worth", duration("24h")) > 100')

    await segments.happen("order", properties={"worth": 60.5})
    await segments.happen("order", properties={"worth": "a lot"})
    before = await segments.members("spending")
    await segments.happen("order", properties={"worth": 40})

    assert before == []
    assert await segments.members("spending") == ["ana"]


async def test_time_looks_at_nobody_but_who_is_due(segments: Segments) -> None:
    await segments.made("silent", 'profile.last_seen_time <= now - duration("720h")')
    await segments.happen("app_opened", "ana")
    segments.profiles.clock.advance(timedelta(days=1))
    await segments.happen("app_opened", "bea")

    segments.profiles.clock.advance(timedelta(days=29))

    assert await segments.dues.run_once() == 1
    assert await segments.dues.run_once() == 0


async def test_two_replicas_look_at_everybody_once(segments: Segments) -> None:
    people = [f"p{at}" for at in range(40)]
    await segments.made("silent", 'profile.last_seen_time <= now - duration("720h")')
    for person in people:
        await segments.happen("app_opened", person)
    segments.profiles.clock.advance(timedelta(days=30))

    async def work() -> None:
        dues, idle = segments.another_dues(batch=7), 0
        while idle < 3:
            idle = 0 if await dues.run_once() else idle + 1

    await asyncio.gather(work(), work())

    assert sorted(one[1] for one in await segments.said()) == sorted(people)


# Building beside everything else.


async def test_building_goes_on_where_it_was_left(profiles: Profiles) -> None:
    segments = Segments(profiles, piece=3)
    for at in range(10):
        await segments.update(f"p{at}", plan="gold")
    await segments.create("vip", GOLD)

    await segments.building.begin()
    await segments.building.step(0)
    half = await segments.get("vip")
    another = Segments(profiles, piece=3)
    await another.build()

    assert half.build_progress == pytest.approx(0.3)
    assert len(await segments.members("vip")) == 10


async def test_a_walk_waits_for_those_who_may_not_know_of_the_segment(profiles: Profiles) -> None:
    segments = Segments(profiles)
    await segments.update(plan="gold")
    async with profiles.database.transaction() as old:
        await old.execute("SELECT version FROM catalogues")
        await segments.create("vip", GOLD)
        await segments.building.begin()

        walked = await segments.building.step(0)

    assert not walked
    assert await segments.building.step(0)


async def test_what_a_turn_writes_is_not_overwritten_by_the_walk(profiles: Profiles) -> None:
    """The walk has read her before the turn, and writes after it."""
    segments = Segments(profiles)
    await segments.update(plan="gold")
    await segments.create("vip", GOLD)
    await segments.building.begin()

    # As a walk that is under way would: her row as it was, held back until the turn is over.
    await segments.update(plan="free")
    [row] = await profiles.fetch("SELECT segment_key FROM segments")
    await profiles.fetch(
        "INSERT INTO segment_members VALUES ('acme', 'ana', $1, true, 1, 1, 0, NULL)"
        " ON CONFLICT DO NOTHING",
        row[0],
    )
    await segments.build()

    assert await segments.members("vip") == []


async def test_many_turns_beside_the_walk_leave_what_counting_says(profiles: Profiles) -> None:
    segments = Segments(profiles, piece=2)
    people = [f"p{at:02}" for at in range(30)]
    for person in people:
        await segments.update(person, plan="gold")
    await segments.create("vip", GOLD)

    async def turn() -> None:
        for at, person in enumerate(people):
            await segments.update(person, plan="free" if at % 3 else "gold")

    await asyncio.gather(turn(), segments.build(), Segments(profiles, piece=2).build())
    await segments.build()

    assert (await segments.get("vip")).state == pb.Segment.STATE_ACTIVE
    assert await segments.members("vip") == people[::3]


async def test_workers_go_on_by_themselves_until_told_to_stop(segments: Segments) -> None:
    await segments.happen("app_opened")
    stopping = Stopping()
    work = asyncio.gather(segments.builder.run(stopping), segments.dues.run(stopping))

    await segments.create("silent", 'profile.last_seen_time <= now - duration("720h")')
    await eventually(
        lambda: segments.get("silent"), lambda one: one.state == pb.Segment.STATE_ACTIVE
    )
    segments.profiles.clock.advance(timedelta(days=30))
    await eventually(lambda: segments.members("silent"))
    stopping.set()
    await work

    assert await segments.said() == [(ENTERED, "ana", "silent")]


async def test_numbers_too_large_to_be_added_up_stop_nobody(segments: Segments) -> None:
    await segments.made("spending", 'event_sum("order", "worth", duration("24h")) > 100')
    # PostgreSQL keeps each of them, but nothing twice as large.
    largest = b'{"worth": 9e131071}'

    for number in range(3):
        event = an_event(f"large{number}", kind="order", properties=largest)
        await segments.profiles.observe(a_record(f"9{number}", event))
    await segments.happen("order", properties={"worth": 101})

    assert await segments.said() == [(ENTERED, "ana", "spending")]


# What no turn ever writes, and what no filter on counters can read.
BREAK = """UPDATE profiles SET counters = '{"app_opened": ["x", 1, 2]}' WHERE profile_id = $1"""


async def test_a_walk_leaves_out_whom_a_filter_fails_on_and_ends(profiles: Profiles) -> None:
    segments = Segments(profiles, piece=3)
    for person in ("ana", "bea", "cleo", "dora"):
        await segments.happen("app_opened", person)
    await segments.create("opened", "profile.counters.app_opened.count > 0")
    await profiles.fetch(BREAK, "bea")

    await segments.build()

    assert (await segments.get("opened")).state == pb.Segment.STATE_ACTIVE
    assert await segments.members("opened") == ["ana", "cleo", "dora"]


async def test_a_segment_that_does_not_compile_keeps_no_other_from_being_built(
    segments: Segments,
) -> None:
    await segments.update(plan="gold")
    await segments.create("odd", GOLD)
    await segments.profiles.fetch("UPDATE segments SET filter = 'nope'")
    await segments.create("vip", GOLD)

    await segments.build()

    assert (await segments.get("odd")).state == pb.Segment.STATE_BUILDING
    assert await segments.members("vip") == ["ana"]


async def test_somebody_on_whom_a_filter_fails_keeps_nobody_waiting(segments: Segments) -> None:
    quiet = 'profile.last_seen_time <= now - duration("720h")'
    await segments.made("quiet", f"profile.counters.app_opened.count > 0 && {quiet}")
    for person in ("ana", "bea", "cleo"):
        await segments.happen("app_opened", person)
    await segments.profiles.fetch(BREAK, "ana")

    await segments.after(timedelta(days=30))
    others = await segments.members("quiet")
    await segments.profiles.fetch(BREAK.replace('"x"', "1"), "ana")
    await segments.after(timedelta(hours=1))

    assert others == ["bea", "cleo"]
    assert await segments.members("quiet") == ["ana", "bea", "cleo"]


async def test_who_is_due_for_what_does_not_compile_is_put_off(segments: Segments) -> None:
    await segments.made("quiet", 'profile.last_seen_time <= now - duration("720h")')
    await segments.happen("app_opened")
    await segments.profiles.fetch("UPDATE segments SET filter = 'nope'")
    await segments.profiles.fetch("UPDATE catalogues SET version = version + 1")

    await segments.after(timedelta(days=30))

    [row] = await segments.profiles.fetch("SELECT due_us FROM segment_members")
    assert row[0] > micros(segments.profiles.clock.now())
