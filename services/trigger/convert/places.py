"""Shapes on the ellipsoid, and which of many a point is in: the one user of the geometry libraries.

Circles are geodesic. Polygons are drawn in degrees, so their lines are straight where latitude and
longitude are the axes; one over the antimeridian goes on beyond 180 degrees, and is looked for
there too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import asin, cos, degrees, radians, sin

import shapely
from beckon.trigger.v1.region_service_pb2 import Region
from pyproj import Geod
from shapely import Geometry, LineString, MultiPoint, Point, Polygon, STRtree
from shapely.affinity import translate

from mesh.errors import invalid_field
from services.trigger.model import Places, StoredRegion

_EARTH = Geod(ellps="WGS84")
# The least radius by which the ellipsoid bends along a meridian, and its lesser half axis: boxes
# reckoned by them hold all that is as near, and a little more.
_LEAST_BEND_M = 6_335_439.0
_HALF_AXIS_M = 6_356_752.0
_POLE, _ANTIMERIDIAN = 90.0, 180.0
_TURN = 360.0
_POLYGON_FIELD = "region.polygon.points"

_Holds = Callable[[float, float, Geometry], bool]
_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Something to look for: where roughly, and whether a place is in it exactly."""

    number: int
    outline: Geometry
    holds: _Holds


@dataclass(frozen=True, slots=True)
class Index:
    """Shapes by where they are."""

    tree: STRtree
    shapes: Sequence[_Shape]


def make_places(regions: Iterable[StoredRegion]) -> Places:
    """Return the places that regions of one workspace are."""
    kept = list(regions)
    index = make_index({one.number: Region.FromString(one.spec) for one in kept})
    return Places({one.number: one.region for one in kept}, partial(regions_at, index))


def make_index(regions: Mapping[int, Region]) -> Index:
    """Return the index of regions by number."""
    shapes = [shape for number, region in regions.items() for shape in _shapes(number, region)]
    return Index(STRtree([one.outline for one in shapes]), shapes)


def regions_at(index: Index, latitude: float, longitude: float) -> frozenset[int]:
    """Return the numbers of all regions that a place is in; their borders belong to them."""
    probe = _probe(latitude, longitude)
    shapes = index.shapes
    return frozenset(
        shape.number
        for at in index.tree.query(probe).tolist()
        if (shape := shapes[at]).holds(latitude, longitude, probe)
    )


def check_polygon(points: Sequence[Region.Point]) -> None:
    """Raise InvalidArgument, saying where, unless points are the corners of a polygon."""
    polygon = Polygon(unrolled(points))
    if polygon.is_valid:
        return
    # As `Self-intersection[13.4 52.5]`; a line that has no inside folds back on itself.
    _, _, where = shapely.is_valid_reason(polygon).partition("[")
    longitude, latitude = (float(one) for one in where.rstrip("]").split()[:2])
    raise invalid_field(
        _POLYGON_FIELD,
        f"cross or touch their own line at latitude {latitude:g}, longitude {_rolled(longitude):g}",
        reason="self_intersection",
    )


def unrolled(points: Sequence[Region.Point]) -> list[tuple[float, float]]:
    """Return corners as (longitude, latitude), each beside the one before: beyond 180 if need be.

    Raises:
        InvalidArgument: They go round the earth, so that neither side is within.
    """
    ring: list[tuple[float, float]] = []
    turns, last = 0, points[0].longitude
    for point in (*points, points[0]):
        step = point.longitude - last
        turns += (step < -_ANTIMERIDIAN) - (step > _ANTIMERIDIAN)
        last = point.longitude
        ring.append((last + turns * _TURN, point.latitude))
    longitudes = [longitude for longitude, _ in ring]
    if turns or max(longitudes) - min(longitudes) > _TURN:
        raise invalid_field(
            _POLYGON_FIELD,
            "go round the earth: a region around a pole is a circle, or two polygons",
            reason="round",
        )
    return ring[:-1]


def _rolled(longitude: float) -> float:
    if abs(longitude) <= _ANTIMERIDIAN:
        return longitude
    return longitude - _TURN * round(longitude / _TURN)


def _probe(latitude: float, longitude: float) -> Geometry:
    """Return where a place is on the map: all along its edge where that is one place on earth."""
    if abs(latitude) == _POLE:
        return LineString([(-_ANTIMERIDIAN, latitude), (_ANTIMERIDIAN, latitude)])
    if abs(longitude) == _ANTIMERIDIAN:
        return MultiPoint([(-_ANTIMERIDIAN, latitude), (_ANTIMERIDIAN, latitude)])
    return Point(longitude, latitude)


def _shapes(number: int, region: Region) -> Iterable[_Shape]:
    if region.WhichOneof("shape") == "circle":
        circle = region.circle
        holds = partial(_within, circle.center.latitude, circle.center.longitude, circle.radius_m)
        for box in boxes_around(circle.center.latitude, circle.center.longitude, circle.radius_m):
            yield _Shape(number, shapely.box(*box), holds)
        return
    polygon = Polygon(unrolled(region.polygon.points))
    for copy in _on_the_map(polygon):
        shapely.prepare(copy)
        yield _Shape(number, copy, partial(_covers, copy))


def _on_the_map(polygon: Polygon) -> Iterable[Polygon]:
    """Yield the polygon, and as much of it as looks over the map's other edge."""
    west, _, east, _ = polygon.bounds
    yield polygon
    if east > _ANTIMERIDIAN:
        yield translate(polygon, -_TURN)
    if west < -_ANTIMERIDIAN:
        yield translate(polygon, _TURN)


def _within(
    center_latitude: float,
    center_longitude: float,
    radius_m: float,
    latitude: float,
    longitude: float,
    _: Geometry,
) -> bool:
    distance_m: float = _EARTH.inv(center_longitude, center_latitude, longitude, latitude)[2]
    return distance_m <= radius_m


def _covers(polygon: Polygon, _latitude: float, _longitude: float, probe: Geometry) -> bool:
    return bool(shapely.intersects(polygon, probe))


def boxes_around(latitude: float, longitude: float, radius_m: float) -> list[_Box]:
    """Return boxes, west to east, that hold all places within a distance."""
    high = degrees(radius_m / _LEAST_BEND_M)
    south, north = max(-_POLE, latitude - high), min(_POLE, latitude + high)
    reach = sin(radius_m / _HALF_AXIS_M)
    narrow = cos(radians(latitude))
    if north == _POLE or south == -_POLE or reach >= narrow:
        return [(-_ANTIMERIDIAN, south, _ANTIMERIDIAN, north)]
    # A hair wider, as these are sums of rounded numbers.
    wide = degrees(asin(reach / narrow)) + 1e-9
    west, east = longitude - wide, longitude + wide
    if west < -_ANTIMERIDIAN:
        return [(-_ANTIMERIDIAN, south, east, north), (west + _TURN, south, _ANTIMERIDIAN, north)]
    if east > _ANTIMERIDIAN:
        return [(west, south, _ANTIMERIDIAN, north), (-_ANTIMERIDIAN, south, east - _TURN, north)]
    return [(west, south, east, north)]
