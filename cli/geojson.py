"""Regions out of a GeoJSON FeatureCollection, each feature for itself."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.problems import usage

if TYPE_CHECKING:
    from beckon.trigger.v1.region_service_pb2 import Region

# The last corner of a ring repeats the first.
_CORNERS_MIN = 4


class Unfit(Exception):
    """A feature is no region; the text says why."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature, and the region it is."""

    number: int
    """From 1."""
    id: str
    region: "Region | None"
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """Which properties say what GeoJSON has no place for."""

    parent: str
    """`workspaces/{workspace}`."""
    id: str
    """'': the feature's own id."""
    display_name: str
    radius_m: str


def read_features(path: Path, naming: Naming) -> Iterator[Feature]:
    """Yield the features of a file as regions, or with why they are none."""
    seen: dict[str, int] = {}
    for number, raw in enumerate(_features(path), 1):
        try:
            identifier = _id_of(raw, naming)
            region = _region(raw, identifier, naming)
            if identifier in seen:
                message = f"has the id of feature {seen[identifier]}"
                raise Unfit(message)  # noqa: TRY301 — all that is wrong is told in one place
        except Unfit as problem:
            named = raw.get("id") if isinstance(raw, Mapping) else None
            yield Feature(number, str(named or ""), None, str(problem))
            continue
        seen[identifier] = number
        yield Feature(number, identifier, region)


def _features(path: Path) -> Sequence[Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise usage(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise usage(f"{path} is no JSON: {error}") from error
    features = document.get("features") if isinstance(document, Mapping) else None
    if not isinstance(features, list) or document.get("type") != "FeatureCollection":
        raise usage(f"{path} is no GeoJSON FeatureCollection")
    return features


def _id_of(raw: object, naming: Naming) -> str:
    if not isinstance(raw, Mapping) or raw.get("type") != "Feature":
        message = "is no Feature"
        raise Unfit(message)
    found = _properties(raw).get(naming.id) if naming.id else raw.get("id")
    where = f"property {naming.id!r}" if naming.id else "id (--id-property names another place)"
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        message = f"has no {where}"
        raise Unfit(message)
    return str(found)


def _region(raw: Mapping[str, Any], identifier: str, naming: Naming) -> "Region":
    from beckon.trigger.v1 import region_service_pb2 as pb

    from mesh.errors import InvalidArgument
    from mesh.interceptors.validate import check_message

    properties = _properties(raw)
    region = pb.Region(name=f"{naming.parent}/regions/{identifier}")
    name = properties.get(naming.display_name)
    if isinstance(name, str):
        region.display_name = name
    _shape(region, raw.get("geometry"), properties.get(naming.radius_m), naming)
    try:
        check_message(region)
    except InvalidArgument as error:
        raise Unfit(error.message) from error
    return region


def _shape(region: "Region", geometry: object, radius_m: object, naming: Naming) -> None:
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    coordinates = geometry.get("coordinates") if isinstance(geometry, Mapping) else None
    if kind == "Point":
        if isinstance(radius_m, bool) or not isinstance(radius_m, int | float):
            message = f"is a point without the number {naming.radius_m!r} among its properties"
            raise Unfit(message)
        region.circle.radius_m = radius_m
        region.circle.center.latitude, region.circle.center.longitude = _place(coordinates)
    elif kind == "Polygon":
        for latitude, longitude in _ring(coordinates):
            region.polygon.points.add(latitude=latitude, longitude=longitude)
    elif kind == "MultiPolygon":
        message = "is several polygons; make each a feature of its own"
        raise Unfit(message)
    else:
        message = f"is {kind or 'nowhere'}; a region is a Polygon, or a Point with a radius"
        raise Unfit(message)


def _ring(coordinates: object) -> list[tuple[float, float]]:
    if not isinstance(coordinates, list) or not coordinates or not isinstance(coordinates[0], list):
        message = "is a polygon without corners"
        raise Unfit(message)
    if len(coordinates) > 1:
        message = "has a hole; regions have none"
        raise Unfit(message)
    corners = [_place(one) for one in coordinates[0]]
    if len(corners) < _CORNERS_MIN or corners[0] != corners[-1]:
        message = "has a ring that does not end where it began"
        raise Unfit(message)
    return corners[:-1]


def _place(coordinates: object) -> tuple[float, float]:
    """Return (latitude, longitude); GeoJSON has them the other way round, a height may follow."""
    match coordinates:
        case [int() | float() as longitude, int() | float() as latitude, *_]:
            return float(latitude), float(longitude)
        case _:
            message = f"has a place that is no [longitude, latitude]: {json.dumps(coordinates)}"
            raise Unfit(message)


def _properties(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = raw.get("properties")
    return properties if isinstance(properties, Mapping) else {}
