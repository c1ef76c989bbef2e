"""Reports move people as an obvious reference does: enters, exits, and nothing twice."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.trigger.model import Occurrence, Places, Presence, Trace
from services.trigger.rules import walk
from services.trigger.rules.regions import left_unnoticed, place_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = Trace(b"t" * 16, None, sampled=False)
# On a line: each region is some of its whole degrees.
REGIONS = {1: range(4), 2: range(2, 6), 3: range(8, 9)}
NAMES = {1: "west", 2: "middle", 3: "east"}
PLACES = {
    "acme": Places(
        NAMES,
        lambda latitude, _: frozenset(
            number for number, degrees in REGIONS.items() if latitude in degrees
        ),
    )
}


def a_report(number: int, at: float, minute: int = 0, profile: str = "ana") -> Occurrence:
    return an_event({"latitude": at, "longitude": 0}, number, minute, profile)


def an_event(
    properties: dict[str, Any], number: int = 1, minute: int = 0, profile: str = "ana"
) -> Occurrence:
    return Occurrence(
        uid=UUID(int=number),
        event_id=f"e-{number}",
        type="location_reported",
        workspace="acme",
        profile=profile,
        occur_time=NOW + timedelta(minutes=minute),
        receive_time=NOW + timedelta(days=1),
        properties=properties,
        properties_json=msgspec.json.encode(properties),
        trace=TRACE,
    )


def reference(
    reports: list[tuple[str, int, int]],
) -> list[tuple[str, str, str]]:
    """Return (profile, what, region) as one would tell it by hand."""
    told: list[tuple[str, str, str]] = []
    latest: dict[str, int] = {}
    inside: dict[str, set[int]] = {}
    for profile, at, minute in reports:
        if minute < latest.get(profile, minute):
            continue
        latest[profile] = minute
        was = inside.get(profile, set())
        now = {number for number, degrees in REGIONS.items() if at in degrees}
        told += [(profile, "region_exited", one) for one in sorted(NAMES[n] for n in was - now)]
        told += [(profile, "region_entered", one) for one in sorted(NAMES[n] for n in now - was)]
        inside[profile] = now
    return told


histories = st.lists(
    st.tuples(st.sampled_from(["ana", "bea"]), st.integers(0, 9), st.integers(0, 5)), max_size=20
)


@example(history=[("ana", 3, 1), ("ana", 3, 1), ("ana", 7, 0), ("ana", 4, 1)], cut=1)
@given(history=histories, cut=st.integers(0, 20))
def test_people_move_as_told_by_hand_however_their_reports_are_cut_into_turns(
    history: list[tuple[str, int, int]], cut: int
) -> None:
    reports = [
        a_report(number, at, minute, profile)
        for number, (profile, at, minute) in enumerate(history)
    ]

    first = walk(reports[:cut], {}, PLACES)
    second = walk(reports[cut:], first.presences, PLACES)

    crossings = first.crossings | second.crossings
    told = [
        (one.profile, one.type, one.properties["region"])
        for report in reports
        for one in crossings.get(report.uid, ())
    ]
    assert told == reference(history)


@given(history=histories)
def test_what_is_told_again_moves_nobody_and_has_the_same_names(
    history: list[tuple[str, int, int]],
) -> None:
    reports = [
        a_report(number, at, minute, profile)
        for number, (profile, at, minute) in enumerate(history)
    ]
    once, again = walk(reports, {}, PLACES), walk(reports, {}, PLACES)

    latest = [one for one in reports if once.presences[_of(one)].report_time == one.occur_time]
    repeated = walk(latest[-1:], once.presences, PLACES)

    assert once == again
    uids = [one.uid for some in once.crossings.values() for one in some]
    assert len(set(uids)) == len(uids)
    assert not repeated.crossings


def _of(event: Occurrence) -> tuple[str, str]:
    return event.workspace, event.profile


def test_what_follows_is_named_after_its_report_and_tells_all_it_told() -> None:
    report = an_event({"latitude": 1, "longitude": 0, "shop": "Zürich", "region": "hers"})

    [entered] = walk([report], {}, PLACES).crossings[report.uid]

    assert (entered.event_id, entered.type) == ("e-1", "region_entered")
    assert entered.uid != report.uid
    assert msgspec.json.decode(entered.properties_json) == {
        "latitude": 1,
        "longitude": 0,
        "shop": "Zürich",
        "region": "west",
    }
    assert entered.properties == msgspec.json.decode(entered.properties_json)


def test_since_when_she_is_inside_is_kept() -> None:
    walked = walk([a_report(1, 3, 0), a_report(2, 2, 5)], {}, PLACES)

    assert walked.presences["acme", "ana"].inside == {1: NOW, 2: NOW}


def test_a_region_that_is_gone_tells_nobody_that_she_left_it() -> None:
    known = {
        ("acme", "ana"): Presence(
            workspace="acme", profile="ana", report_time=NOW, inside={1: NOW, 99: NOW}
        )
    }

    walked = walk([a_report(1, 9)], known, PLACES)

    assert [one.properties["region"] for one in walked.crossings[UUID(int=1)]] == ["west"]


def test_where_no_region_is_asked_about_nobody_is_followed() -> None:
    assert not walk([a_report(1, 1)], {}, {}).presences


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"latitude": 1},
        {"latitude": "1", "longitude": 0},
        {"latitude": True, "longitude": 0},
        {"latitude": 90.1, "longitude": 0},
        {"latitude": 1, "longitude": -180.1},
        {"latitude": float("nan"), "longitude": 0},
        {"latitude": float("inf"), "longitude": 0},
        {"latitude": 10**400, "longitude": 0},
        {"latitude": [1], "longitude": 0},
    ],
)
def test_what_tells_no_place_on_earth_moves_nobody_and_is_counted(
    properties: dict[str, Any],
) -> None:
    walked = walk([an_event(properties)], {}, PLACES)

    assert (walked.unreadable, walked.presences) == (1, {})


def test_the_edges_of_the_earth_are_on_it() -> None:
    assert place_of(an_event({"latitude": -90, "longitude": 180})) == (-90.0, 180.0)


def test_who_turns_out_to_be_elsewhere_has_left_where_she_was_taken_to_be() -> None:
    before = Presence(workspace="acme", profile="a1", report_time=NOW, inside={1: NOW, 99: NOW})
    latest = Presence(
        workspace="acme", profile="ana", report_time=NOW + timedelta(minutes=1), inside={3: NOW}
    )

    [left] = left_unnoticed([latest, before], "ana", NAMES, TRACE)

    assert (left.type, left.properties["region"]) == ("region_exited", "west")
    assert left.occur_time == latest.report_time
    assert left_unnoticed([], "ana", NAMES, TRACE) == []
    assert left_unnoticed([latest], "ana", NAMES, TRACE) == []
