"""Makes sure that events make of a person what plain counting over all of them would."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from services.profile.model import DAY_US, NOBODY, Event, Facts, Profile, Refused
from services.profile.rules import COUNTER_TYPES_MAX, LATE_US, observe
from tests.unit.profile.builders import NOW_US, an_event

kinds = st.sampled_from(["a", "b", "profile_updated"])
words = st.sampled_from([None, "Europe/Berlin", "ana@example.com", "gold"])
changes = st.fixed_dictionaries(
    {},
    optional={
        "tier": words,
        "size": st.sampled_from([None, 3, 4]),
        "email": words | st.just(3),
        "time_zone": words | st.just(3),
    },
)
happenings = st.builds(
    lambda kind, age, change: an_event(
        kind=kind,
        occur_us=NOW_US - age,
        properties=json.dumps(change if kind == "profile_updated" else {}),
    ),
    kinds,
    # At the edge of lateness, and a little ahead of the clock.
    st.sampled_from([0, 1, -5, DAY_US, LATE_US, LATE_US + 1, 40 * DAY_US]),
    changes,
)


def reference(events: list[Event]) -> dict[str, object]:
    """Say what a person is by looking at all events at once, the slow way."""
    attributes: dict[str, object] = {}
    fields = {"email": "", "time_zone": ""}
    good: list[Event] = []
    for event in events:
        if event.receive_us - event.occur_us > LATE_US:
            continue
        change = json.loads(event.properties)
        valid = {"email": ["ana@example.com", None], "time_zone": ["Europe/Berlin", None]}
        if any(change[key] not in valid[key] for key in valid if key in change):
            continue
        for key, value in change.items():
            if key in fields:
                fields[key] = value or ""
            elif value is None:
                attributes.pop(key, None)
            else:
                attributes[key] = value
        good.append(event)
    times = {
        kind: [event.occur_us for event in good if event.type == kind]
        for kind in {event.type for event in good}
    }
    every = [event.occur_us for event in good]
    return {
        "attributes": attributes,
        **fields,
        "counters": {kind: (len(at), min(at), max(at)) for kind, at in times.items()},
        "seen": (min(every), max(every)) if every else (0, 0),
    }


def shown(profile: Profile) -> dict[str, object]:
    return {
        "attributes": json.loads(profile.facts.attributes),
        "email": profile.facts.email,
        "time_zone": profile.facts.time_zone,
        "counters": {kind: tuple(counter) for kind, counter in profile.counters.items()},
        "seen": (profile.first_seen_us, profile.last_seen_us),
    }


@given(st.lists(happenings, max_size=12), st.integers(0, 12))
def test_however_events_are_cut_into_turns_the_person_is_the_same(
    events: list[Event], cut: int
) -> None:
    at_once = observe(NOBODY, events).profile
    first = observe(NOBODY, events[:cut]).profile
    in_two = observe(first, events[cut:]).profile

    assert shown(at_once) == shown(in_two) == reference(events)


@given(st.lists(happenings, max_size=8))
@example([an_event(kind="a"), an_event(kind="a"), an_event(kind="b")])
def test_after_each_event_the_person_stands_as_if_it_were_the_last(events: list[Event]) -> None:
    observation = observe(NOBODY, events, wanted=frozenset({"a", "profile_updated"}))

    kept = 0
    for at, event in enumerate(events, start=1):
        alone = observe(NOBODY, events[:at])
        if len(alone.kept) > len(observe(NOBODY, events[: at - 1]).kept) and event.type != "b":
            assert shown(observation.stood[kept][1]) == shown(alone.profile)
            kept += 1
    assert kept == len(observation.stood)


@given(st.lists(happenings, min_size=1))
def test_an_event_is_kept_or_refused_and_never_lost(events: list[Event]) -> None:
    observation = observe(NOBODY, events)

    assert len(observation.kept) + len(observation.refused) == len(events)


def test_the_profile_that_was_read_is_left_as_it_was() -> None:
    before = Profile(version=3, counters={"order_placed": (1, 5, 5)})

    observe(before, [an_event()])

    assert before.counters == {"order_placed": (1, 5, 5)}


def test_a_turn_is_one_version_however_many_events_it_has() -> None:
    assert observe(Profile(version=3), [an_event(), an_event("e2")]).profile.version == 4


def test_a_late_event_changes_nothing_but_the_version() -> None:
    late = an_event(occur_us=NOW_US - LATE_US - 1)

    observation = observe(Profile(version=3), [late])

    assert observation.profile == Profile(version=4)
    assert observation.kept == [late]


def test_a_late_change_of_attributes_is_kept_in_the_history_only() -> None:
    late = an_event(
        kind="profile_updated", occur_us=NOW_US - LATE_US - 1, properties='{"email": "no address"}'
    )

    observation = observe(NOBODY, [late])

    assert observation.profile.facts == Facts()
    assert observation.kept == [late]


def test_a_person_whose_events_are_all_refused_stays_as_before() -> None:
    before = Profile(version=3)
    bad = an_event(kind="profile_updated", properties='{"time_zone": "Mars/Olympus"}')

    observation = observe(before, [bad])

    assert observation.profile is before
    assert observation.refused == [
        (
            bad,
            Refused("properties.time_zone", "must be an IANA time zone: Europe/Berlin"),
        )
    ]


def test_the_513th_type_is_kept_but_not_counted() -> None:
    events = [an_event(f"e{at}", kind=f"type_{at}") for at in range(COUNTER_TYPES_MAX + 1)]

    observation = observe(NOBODY, [*events, an_event("again", kind="type_0")])

    assert len(observation.profile.counters) == COUNTER_TYPES_MAX
    assert len(observation.kept) == COUNTER_TYPES_MAX + 2
    assert observation.profile.counters["type_0"][0] == 2
