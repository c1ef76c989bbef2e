"""Measures what a report of a location costs to judge among many regions, without any I/O.

Run it as `python -m bench.regions_cost`. CPU microseconds, the median of several turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import cos, radians, sin
from random import Random
from uuid import UUID

from beckon.trigger.v1.region_service_pb2 import Region
from rich.console import Console
from rich.table import Table

from services.trigger.convert.places import make_index, make_places, regions_at
from services.trigger.model import Occurrence, StoredRegion, Trace
from services.trigger.rules import walk

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = Trace(b"t" * 16, None, sampled=False)
TURNS = 9
# A country's worth of shops, cafés and stations.
_SOUTH, _NORTH, _WEST, _EAST = 47.0, 55.0, 6.0, 15.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=1_000)
    options = parser.parse_args()
    draw = Random(7)
    stored = [_stored(draw, number) for number in range(options.regions)]
    places = make_places(stored)
    reports = [_report(draw, number) for number in range(options.reports)]
    regions = {one.number: Region.FromString(one.spec) for one in stored}
    index = make_index(regions)
    points = [(_number(one, "latitude"), _number(one, "longitude")) for one in reports]
    crossings = walk(reports, {}, {"acme": places}).crossings

    table = Table(title=f"{options.regions} regions, {options.reports} reports a turn")
    table.add_column("what")
    table.add_column("CPU", justify="right")
    rows: list[tuple[str, float]] = [
        (
            "look a place up",
            _cpu_us(lambda: [regions_at(index, *one) for one in points], len(points)),
        ),
        ("walk a report", _cpu_us(lambda: walk(reports, {}, {"acme": places}), len(reports))),
    ]
    for what, microseconds in rows:
        table.add_row(what, f"{microseconds:.1f} us")
    table.add_row("make the index", f"{_cpu_us(lambda: make_index(regions), 1) / 1000:.0f} ms")
    table.add_row("reports that cross a border", str(len(crossings)))
    Console().print(table)


def _cpu_us(work: Callable[[], object], count: int) -> float:
    spent: list[float] = []
    for _ in range(TURNS):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return statistics.median(spent) / count * 1e6


def _stored(draw: Random, number: int) -> StoredRegion:
    """Return a circle, or a polygon of twenty corners."""
    latitude, longitude = draw.uniform(_SOUTH, _NORTH), draw.uniform(_WEST, _EAST)
    if number % 2:
        center = Region.Point(latitude=latitude, longitude=longitude)
        region = Region(circle=Region.Circle(center=center, radius_m=draw.uniform(100, 2000)))
    else:
        angles = [radians(18 * step) for step in range(20)]
        region = Region(
            polygon=Region.Polygon(
                points=[
                    Region.Point(
                        latitude=latitude + draw.uniform(0.002, 0.02) * sin(angle),
                        longitude=longitude + draw.uniform(0.002, 0.02) * cos(angle),
                    )
                    for angle in angles
                ]
            )
        )
    return StoredRegion(
        workspace="acme",
        region=f"r{number}",
        number=number,
        spec=region.SerializeToString(),
        revision=1,
        create_time=NOW,
        update_time=NOW,
    )


def _report(draw: Random, number: int) -> Occurrence:
    properties = {
        "latitude": draw.uniform(_SOUTH, _NORTH),
        "longitude": draw.uniform(_WEST, _EAST),
    }
    return Occurrence(
        uid=UUID(int=number),
        event_id=f"e{number}",
        type="location_reported",
        workspace="acme",
        profile=f"p{number}",
        occur_time=NOW,
        receive_time=NOW,
        properties=properties,
        properties_json=b"{}",
        trace=TRACE,
    )


def _number(event: Occurrence, name: str) -> float:
    return float(event.properties[name])


if __name__ == "__main__":
    main()
