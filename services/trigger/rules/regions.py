"""Into and out of which regions does a person's report of her location move her?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from json import dumps
from uuid import UUID, uuid5

from services.trigger.model import Occurrence, Places, Plan, Presence, Trace

LOCATION_REPORTED = "location_reported"
REGION_ENTERED = "region_entered"
REGION_EXITED = "region_exited"

# Names of what nobody reported.
_UNITED = UUID("6d1c2f0a-3b1e-5f57-9a0e-2f5b8c4d7e13")
_LATITUDE_MAX = 90
_LONGITUDE_MAX = 180

Someone = tuple[str, str]
"""Workspace and the profile id that the person goes by."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What reports of locations amount to, one after another."""

    presences: dict[Someone, Presence] = field(default_factory=dict)
    """Of who has moved or was heard of, as they are to stand."""
    crossings: dict[UUID, tuple[Occurrence, ...]] = field(default_factory=dict)
    """What follows from an event, by its uid: exits, then entries, each by the region's id."""
    unreadable: int = 0
    """Reports that tell no place."""


def regions_named_by(plan: Plan) -> frozenset[str]:
    """Return the ids of the regions whose borders a campaign listens to, or did for some yet."""
    named: frozenset[str] = frozenset()
    for one in (plan, *plan.past.plans.values()):
        if one.match is not None and one.trigger_type in (REGION_ENTERED, REGION_EXITED):
            named |= one.match.values
    return named


def walk(
    events: Iterable[Occurrence],
    known: Mapping[Someone, Presence],
    places: Mapping[str, Places],
) -> Walk:
    """Move people by their reports, in the order of the log.

    A report that occurred before the latest one heard of moves nobody, and one that tells no
    place on earth is left alone: it stays an event like any other.

    Args:
        events: of any type; those that report a location count.
        known: where people were before.
        places: by workspace; where there are none nobody is followed.
    """
    presences: dict[Someone, Presence] = {}
    crossings: dict[UUID, tuple[Occurrence, ...]] = {}
    unreadable = 0
    for event in events:
        watched = places.get(event.workspace)
        if watched is None or event.type != LOCATION_REPORTED:
            continue
        place = place_of(event)
        if place is None:
            unreadable += 1
            continue
        someone = event.workspace, event.profile
        before = presences.get(someone) or known.get(someone)
        after = moved(before, event, watched.at(*place))
        if after is None:
            continue
        presences[someone] = after
        found = _crossings(event, before.inside if before else {}, after.inside, watched.names)
        if found:
            crossings[event.uid] = found
    return Walk(presences, crossings, unreadable)


def left_unnoticed(
    presences: Iterable[Presence], profile: str, names: Mapping[int, str], trace: Trace
) -> list[Occurrence]:
    """Return which regions a person turns out to have left who was taken for several until now.

    She is where she was by the latest report of all; who she was taken for before that had been
    elsewhere. It is told to what waits for her to leave, and begins nothing.

    Args:
        presences: where each was whom she was taken for.
        profile: the id that she goes by.
        names: number → id of the regions that matter.
        trace: to which it belongs.
    """
    known = sorted(presences, key=lambda one: one.report_time)
    latest = known[-1] if known else None
    if latest is None:
        return []
    left = {number for one in known for number in one.inside} - latest.inside.keys()
    origin = latest.member or latest.profile
    report = Occurrence(
        uid=uuid5(_UNITED, f"{latest.workspace}/{origin}/{latest.report_time.isoformat()}"),
        event_id=f"the report of {origin}",
        type=LOCATION_REPORTED,
        workspace=latest.workspace,
        profile=profile,
        occur_time=latest.report_time,
        receive_time=latest.report_time,
        properties={},
        properties_json=b"{}",
        trace=trace,
        member="" if origin == profile else origin,
    )
    return [crossing(report, REGION_EXITED, names[one]) for one in sorted(left) if one in names]


def place_of(event: Occurrence) -> tuple[float, float] | None:
    """Return the latitude and longitude that an event reports; None: no place on earth."""
    latitude = _degrees(event.properties.get("latitude"), _LATITUDE_MAX)
    longitude = _degrees(event.properties.get("longitude"), _LONGITUDE_MAX)
    return None if latitude is None or longitude is None else (latitude, longitude)


def moved(before: Presence | None, event: Occurrence, here: Iterable[int]) -> Presence | None:
    """Return where a person is after a report; None: she was heard of later than that.

    At the same instant the order of the log decides. No report is of later than it was received:
    a clock that runs ahead would make all to come look old.
    """
    time = min(event.occur_time, event.receive_time)
    if before is None:
        before = Presence(
            workspace=event.workspace, profile=event.profile, report_time=time, inside={}
        )
    elif time < before.report_time:
        return None
    since = before.inside
    return replace(
        before,
        report_time=time,
        inside={number: since.get(number, time) for number in here},
        member=event.member,
    )


def crossing(event: Occurrence, type_: str, region: str) -> Occurrence:
    """Return what a report amounts to: an event of its own, named after the report."""
    properties = {**event.properties, "region": region}
    return replace(
        event,
        uid=uuid5(event.uid, f"{type_}/{region}"),
        type=type_,
        properties=properties,
        properties_json=dumps(properties, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def _crossings(
    event: Occurrence,
    before: Mapping[int, datetime],
    after: Mapping[int, datetime],
    names: Mapping[int, str],
) -> tuple[Occurrence, ...]:
    if before.keys() == after.keys():
        return ()
    # A region that is gone, or that nobody asks about any more, tells nobody that she left it.
    exited = sorted(names[one] for one in before.keys() - after.keys() if one in names)
    entered = sorted(names[one] for one in after.keys() - before.keys())
    return (
        *(crossing(event, REGION_EXITED, one) for one in exited),
        *(crossing(event, REGION_ENTERED, one) for one in entered),
    )


def _degrees(value: object, limit: int) -> float | None:
    # True is a number to Python, and no place.
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -limit <= value <= limit else None
