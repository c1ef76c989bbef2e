"""GeoJSON becomes regions feature by feature; what does not fit is told with why."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.geojson import Feature, Naming, read_features
from cli.problems import Problem

NAMING = Naming(parent="workspaces/acme", id="", display_name="name", radius_m="radius_m")
RING = [[8.54, 47.366], [8.54, 47.376], [8.548, 47.37], [8.54, 47.366]]


def a_feature(geometry: object, *, id: object = "shop", **properties: Any) -> dict[str, Any]:  # noqa: A002 — as in GeoJSON
    return {"type": "Feature", "id": id, "geometry": geometry, "properties": properties}


def a_polygon(*rings: object) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def read(tmp_path: Path, *features: object, naming: Naming = NAMING) -> list[Feature]:
    path = tmp_path / "some.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return list(read_features(path, naming))


def test_a_polygon_is_its_ring_without_the_repeated_corner(tmp_path: Path) -> None:
    [feature] = read(tmp_path, a_feature(a_polygon(RING), name="Old town"))

    assert feature.region is not None
    assert feature.region.name == "workspaces/acme/regions/shop"
    assert feature.region.display_name == "Old town"
    points = feature.region.polygon.points
    assert [(one.latitude, one.longitude) for one in points] == [
        (47.366, 8.54),
        (47.376, 8.54),
        (47.37, 8.548),
    ]


def test_a_point_with_a_radius_is_a_circle(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [13.405, 52.52, 34]}

    [feature] = read(tmp_path, a_feature(point, radius_m=200))

    assert feature.region is not None
    circle = feature.region.circle
    assert (circle.center.latitude, circle.center.longitude) == (52.52, 13.405)
    assert circle.radius_m == 200


def test_properties_may_hold_the_id(tmp_path: Path) -> None:
    naming = Naming(parent="workspaces/acme", id="no", display_name="name", radius_m="radius_m")

    [feature] = read(tmp_path, a_feature(a_polygon(RING), id=None, no="s7"), naming=naming)

    assert feature.id == "s7"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (7, "is no Feature"),
        (a_feature(a_polygon(RING), id=None), "has no id"),
        (a_feature(a_polygon(RING), id="Shop 7"), "name"),
        (a_feature(None), "is nowhere"),
        (a_feature({"type": "LineString", "coordinates": RING}), "is LineString"),
        (a_feature({"type": "MultiPolygon", "coordinates": [[RING]]}), "several polygons"),
        (a_feature(a_polygon()), "without corners"),
        (a_feature(a_polygon(RING, RING)), "has a hole"),
        (a_feature(a_polygon(RING[:-1])), "does not end where it began"),
        (a_feature(a_polygon([*RING[:2], ["x", 1], RING[0]])), "no [longitude, latitude]"),
        (a_feature({"type": "Point", "coordinates": [1, 2]}), "without the number 'radius_m'"),
        (a_feature({"type": "Point", "coordinates": [1, 2]}, radius_m=5), "radius_m"),
        (a_feature({"type": "Point", "coordinates": [1, 92]}, radius_m=50), "latitude"),
    ],
)
def test_what_is_no_region_is_told_beside_those_that_are(
    tmp_path: Path, raw: object, told: str
) -> None:
    bad, good = read(tmp_path, raw, a_feature(a_polygon(RING), id="good"))

    assert told in bad.problem
    assert (bad.region, good.problem, good.number) == (None, "", 2)


def test_two_of_one_id_are_not_both_taken(tmp_path: Path) -> None:
    _, second = read(tmp_path, *(a_feature(a_polygon(RING)) for _ in range(2)))

    assert second.problem == "has the id of feature 1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "Feature"}'])
def test_what_is_no_collection_is_refused_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "some.geojson"
    path.write_text(text)

    with pytest.raises(Problem):
        list(read_features(path, NAMING))
