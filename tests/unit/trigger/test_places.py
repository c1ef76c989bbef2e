"""Which regions a place is in, held against slow and obvious references; poles and 180° included."""

from math import asin, cos, degrees, radians, sin, sqrt

import pytest
from beckon.trigger.v1.region_service_pb2 import Region
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pyproj import Geod

from mesh.errors import InvalidArgument
from services.trigger.convert.places import (
    boxes_around,
    check_polygon,
    make_index,
    regions_at,
    unrolled,
)

_EARTH = Geod(ellps="WGS84")
_RADIUS_M = 6_371_008.8
latitudes = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, -89.999, 0.0, 89.999, 90.0]))
longitudes = st.one_of(
    st.floats(-180, 180), st.sampled_from([-180.0, -179.999, 0.0, 179.999, 180.0])
)
places = st.tuples(latitudes, longitudes)
radii = st.floats(10, 1_000_000)


def a_point(place: tuple[float, float]) -> Region.Point:
    return Region.Point(latitude=place[0], longitude=place[1])


def a_circle(center: tuple[float, float], radius_m: float) -> Region:
    return Region(circle=Region.Circle(center=a_point(center), radius_m=radius_m))


def a_polygon(*corners: tuple[float, float]) -> Region:
    return Region(polygon=Region.Polygon(points=map(a_point, corners)))


def within(region: Region, place: tuple[float, float]) -> bool:
    return bool(regions_at(make_index({1: region}), *place))


def haversine_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance on a sphere: within 0.6 % of that on the ellipsoid."""
    north, east = radians(other[0] - one[0]), radians(other[1] - one[1])
    chord = sin(north / 2) ** 2 + cos(radians(one[0])) * cos(radians(other[0])) * sin(east / 2) ** 2
    return 2 * _RADIUS_M * asin(min(1.0, sqrt(chord)))


@example(center=(89.95, 10.0), radius_m=20_000.0, place=(89.95, -170.0))
@example(center=(-89.0, 0.0), radius_m=111_000.0, place=(-89.0, 90.0))
@example(center=(0.0, 179.999), radius_m=1_000.0, place=(0.0, -179.999))
@example(center=(90.0, 77.0), radius_m=10.0, place=(90.0, -12.0))
@given(center=places, radius_m=radii, place=places)
def test_a_circle_holds_what_is_as_near_on_the_sphere_give_or_take(
    center: tuple[float, float], radius_m: float, place: tuple[float, float]
) -> None:
    distance_m = haversine_m(center, place)
    assume(not 0.994 * distance_m - 1 < radius_m < 1.006 * distance_m + 1)

    assert within(a_circle(center, radius_m), place) == (distance_m < radius_m)


@given(center=places, radius_m=radii, azimuth=st.floats(-180, 180), share=st.floats(0, 1.5))
def test_a_circle_ends_at_its_radius_whatever_the_direction(
    center: tuple[float, float], radius_m: float, azimuth: float, share: float
) -> None:
    assume(abs(share - 1) > 1e-6)
    longitude, latitude, _ = _EARTH.fwd(center[1], center[0], azimuth, share * radius_m)

    assert within(a_circle(center, radius_m), (latitude, longitude)) == (share < 1)


@given(center=places, radius_m=radii, azimuth=st.floats(-180, 180))
def test_the_boxes_hold_all_of_a_circle(
    center: tuple[float, float], radius_m: float, azimuth: float
) -> None:
    longitude, latitude, _ = _EARTH.fwd(center[1], center[0], azimuth, radius_m)

    assert any(
        west <= longitude <= east and south <= latitude <= north
        for west, south, east, north in boxes_around(*center, radius_m)
    )


def inside(ring: list[tuple[float, float]], x: float, y: float) -> bool:
    """Return whether a ray to the east leaves a ring: once, three times, five times."""
    found = False
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            found = not found
    return found


@st.composite
def stars(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Draw corners around a middle, one behind the other: they never cross themselves."""
    middle = draw(st.floats(-60, 60)), draw(longitudes)
    reaches = draw(st.lists(st.floats(0.5, 25), min_size=3, max_size=12))
    corners = []
    for number, reach in enumerate(reaches):
        angle = radians(360 * number / len(reaches))
        longitude = middle[1] + reach * cos(angle)
        corners.append((middle[0] + reach * sin(angle), longitude - 360 * round(longitude / 360)))
    return corners


@given(corners=stars(), place=places)
def test_a_polygon_holds_what_a_ray_out_of_it_crosses_oddly(
    corners: list[tuple[float, float]], place: tuple[float, float]
) -> None:
    ring = unrolled([a_point(one) for one in corners])
    # At the very corner the ray of the reference may see two lines, or none.
    assume(all(abs(place[0] - y) > 1e-9 for _, y in ring))
    expected = any(inside(ring, place[1] + turn, place[0]) for turn in (-360, 0, 360))

    assert within(a_polygon(*corners), place) == expected


@pytest.mark.parametrize(
    ("place", "held"),
    [
        ((0, 180), True),
        ((0, -180), True),
        ((0, 179), True),
        ((0, -179), True),
        ((0, 0), False),
        ((0, 168), False),
        ((0, -168), False),
        ((10, 175), True),
    ],
)
def test_a_polygon_over_the_antimeridian_has_two_sides(
    place: tuple[float, float], held: bool
) -> None:
    assert within(a_polygon((10, 170), (10, -170), (-10, -170), (-10, 170)), place) is held


def test_a_pole_is_one_place_whatever_its_longitude() -> None:
    assert within(a_polygon((80, 0), (90, 0), (90, 40), (80, 40)), (90, -100))


def test_every_region_that_holds_a_place_is_told() -> None:
    index = make_index(
        {7: a_circle((1, 1), 5_000), 8: a_circle((1, 1.01), 5_000), 9: a_circle((2, 2), 9)}
    )

    assert regions_at(index, 1, 1.005) == {7, 8}


@pytest.mark.parametrize(
    ("corners", "told"),
    [
        (((0, 0), (1, 1), (0, 1), (1, 0)), "at latitude 0.5, longitude 0.5"),
        (((0, 179), (1, -179), (0, -179), (1, 179)), "at latitude 0.5, longitude 180"),
        (((0, 175), (10, -170), (0, -170), (10, 180)), "at latitude"),
        (((0, 0), (1, 1), (2, 2)), "at latitude 1, longitude 1"),
        (((0, 0), (1, 0), (1, 0)), "at latitude"),
        (((80, 0), (80, 120), (80, -120)), "go round the earth"),
    ],
)
def test_what_is_no_polygon_is_refused_with_the_place(
    corners: tuple[tuple[float, float], ...], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        check_polygon([a_point(one) for one in corners])


def test_either_direction_and_a_repeated_corner_make_a_polygon() -> None:
    check_polygon([a_point(one) for one in ((0, 0), (0, 1), (1, 1), (1, 1), (1, 0))])
    check_polygon([a_point(one) for one in ((0, 0), (1, 0), (1, 1), (0, 1))])


def test_the_boxes_of_a_circle_are_little_larger_than_it() -> None:
    [(west, south, east, north)] = boxes_around(52, 13, 10_000)

    assert (north - south) * 111_000 < 20_400
    assert (east - west) * 111_320 * cos(radians(52)) < 20_400
    assert degrees(10_000 / _RADIUS_M) < north - 52
