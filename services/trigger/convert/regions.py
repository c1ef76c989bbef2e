"""Regions: the message, what is stored of it, and how crossing one begins a campaign."""

from dataclasses import replace
from datetime import datetime, timedelta

from beckon.trigger.v1.campaign_service_pb2 import Campaign, RegionCrossing
from beckon.trigger.v1.region_service_pb2 import Region

from mesh.errors import invalid_field
from mesh.names import format_name, parse_name, workspace_of
from services.trigger.convert.places import check_polygon
from services.trigger.convert.times import from_duration, to_timestamp
from services.trigger.model import (
    ExceptionRule,
    Match,
    Occurrence,
    Person,
    Plan,
    Predicate,
    Seen,
    StoredRegion,
)
from services.trigger.rules.exceptions import DWELL
from services.trigger.rules.regions import REGION_ENTERED, REGION_EXITED

COLLECTION = "regions"
_DWELL_MIN = timedelta(minutes=1)
_FIELD = "campaign.trigger.region"
# What other columns say, or the caller alone.
_NOT_STORED = ("name", "etag", "create_time", "update_time")


def stored_spec(region: Region) -> bytes:
    """Return what is stored of a region besides its columns."""
    spec = Region()
    spec.CopyFrom(region)
    for name in _NOT_STORED:
        spec.ClearField(name)  # type: ignore[arg-type]
    return spec.SerializeToString(deterministic=True)


def to_region(stored: StoredRegion) -> Region:
    """Return a stored region as callers see it."""
    region = Region.FromString(stored.spec)
    region.name = format_name(stored.workspace, COLLECTION, stored.region)
    region.etag = etag_of(stored)
    region.create_time.CopyFrom(to_timestamp(stored.create_time))
    region.update_time.CopyFrom(to_timestamp(stored.update_time))
    return region


def etag_of(stored: StoredRegion) -> str:
    """Return what changes with every change, also when a region is made anew under its id."""
    return f"{stored.number}-{stored.revision}"


def check_region(region: Region) -> None:
    """Raise InvalidArgument, naming the field, unless the region has an inside."""
    if region.HasField("polygon"):
        check_polygon(region.polygon.points)


def regions_of(campaign: Campaign) -> frozenset[str]:
    """Return the ids of the regions whose borders a campaign listens to."""
    return frozenset(parse_name(name, COLLECTION)[1] for name in campaign.trigger.region.regions)


def check_crossing(campaign: Campaign, workspace: str) -> None:
    """Raise InvalidArgument, naming the field, unless the crossing that begins it is whole."""
    if not campaign.trigger.HasField("region"):
        return
    crossing = campaign.trigger.region
    for index, name in enumerate(crossing.regions):
        field = f"{_FIELD}.regions[{index}]"
        if workspace_of(name, field=field) != workspace:
            raise invalid_field(field, "must be of the campaign's workspace", reason="workspace")
        parse_name(name, COLLECTION, field=field)
    dwells = crossing.kind == RegionCrossing.KIND_DWELL
    if crossing.HasField("duration") and not dwells:
        raise invalid_field(f"{_FIELD}.duration", "is for KIND_DWELL only", reason="kind")
    if dwells and from_duration(crossing.duration) < _DWELL_MIN:
        raise invalid_field(f"{_FIELD}.duration", "must be at least 1 minute", reason="duration")


def with_crossing(plan: Plan, crossing: RegionCrossing) -> Plan:
    """Return a plan that begins as people cross borders.

    To dwell is to enter and not to leave until the time is over: a wait, which leaving the same
    region ends.
    """
    ids = frozenset(parse_name(name, COLLECTION)[1] for name in crossing.regions)
    left = crossing.kind == RegionCrossing.KIND_EXIT
    plan = replace(
        plan,
        trigger_type=REGION_EXITED if left else REGION_ENTERED,
        match=Match("region", ids),
    )
    if crossing.kind != RegionCrossing.KIND_DWELL:
        return plan
    dwell = from_duration(crossing.duration)
    return replace(
        plan,
        dwell=dwell,
        exceptions=(*plan.exceptions, ExceptionRule(REGION_EXITED, _leaves(dwell), gate=DWELL)),
    )


def _leaves(dwell: timedelta) -> Predicate:
    """Return whether an event tells that somebody left a region before she had been in it long."""

    def judge(event: Occurrence, _: Person, trigger: Occurrence | None, _now: datetime) -> Seen:
        assert trigger is not None  # it is an exception
        same = event.properties.get("region") == trigger.properties.get("region")
        early = event.occur_time < trigger.occur_time + dwell
        return Seen(passed=same and early, detail="left" if same and early else "stays")

    return judge
