"""Regions from the command line: set, listed, imported feature by feature, and kept while in use."""

import json
from pathlib import Path

from tests.integration.cli.conftest import Beckon

EXAMPLE = Path(__file__).parents[3] / "examples" / "campaigns" / "shop-nearby.yaml"
RING = [[8.54, 47.366], [8.54, 47.376], [8.548, 47.37], [8.54, 47.366]]
BOW = [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]


def a_collection(tmp_path: Path) -> str:
    """Return a file of one region, one that crosses itself, and one without an id."""
    features = [
        {
            "type": "Feature",
            "id": name,
            "properties": {},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for name, ring in (("town", RING), ("bow", BOW), (None, RING))
    ]
    path = tmp_path / "some.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def test_a_region_is_set_listed_shown_and_removed(beckon: Beckon) -> None:
    made = beckon("regions", "set", "shop", "--at", "52.52,13.405", "--radius", "200", "-o", "json")
    listed = beckon("regions", "list", "-o", "json")
    shown = beckon("regions", "get", "shop")
    beckon("regions", "delete", "shop")

    assert made.document["circle"]["radius_m"] == 200
    assert listed.documents == [made.document]
    assert "200 m around 52.52, 13.405" in shown.stdout
    assert beckon("regions", "list", "-o", "json").documents == []
    assert beckon("regions", "set", "shop", code=2).exit_code == 2


def test_each_feature_of_an_import_stands_or_falls_alone(beckon: Beckon, tmp_path: Path) -> None:
    path = a_collection(tmp_path)

    dry = beckon("regions", "import", path, "--dry-run", code=1)
    before = beckon("regions", "list", "-o", "json")
    done = beckon("regions", "import", path, code=1)

    assert "2 would be taken, 1 refused" in dry.stdout
    assert before.documents == []
    assert "1 taken, 2 refused" in done.stdout
    assert "feature 2 (bow)" in done.stderr
    assert "latitude 0.5, longitude 0.5" in done.stderr
    assert "feature 3: has no id" in done.stderr
    assert len(beckon("regions", "list", "-o", "json").documents) == 1


def test_the_example_is_applied_and_its_regions_stay_while_it_is_active(beckon: Beckon) -> None:
    beckon("apply", "-f", str(EXAMPLE))
    again = beckon("apply", "-f", str(EXAMPLE))

    refused = beckon("regions", "delete", "old-town", code=1)

    assert "unchanged Region old-town" in " ".join(again.stdout.split())
    assert "coffee-nearby" in refused.stderr
