"""`beckon regions`: places on earth whose borders people cross."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, last, time_text, write_json
from cli.problems import Problem, refusal_of, usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.region_service_pb2 import Region
    from beckon.trigger.v1.region_service_pb2_grpc import RegionServiceAsyncStub

    from cli.geojson import Feature

app = typer.Typer(no_args_is_help=True, help="Regions: places whose borders people cross.")

RegionArgument = Annotated[str, typer.Argument(help="Id or name.")]
_COLUMNS = ("REGION", "SHAPE", "NAME", "CHANGED")


async def _stub(session: Session) -> "RegionServiceAsyncStub":
    from beckon.trigger.v1.region_service_pb2_grpc import RegionServiceStub

    return RegionServiceStub(await session.channel("trigger"))


@command(app, "list", examples="beckon regions list")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List regions by id."""
    from beckon.trigger.v1 import region_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListRegionsRequest(parent=session.parent)
    lines = Lines(session.output, _COLUMNS)
    async for page in pages(stub.ListRegions, request, lambda found: found.regions, limit=limit):
        lines.write(page, _row, as_dict)
    lines.end("no regions; `beckon regions import` takes GeoJSON")


@command(app, "get", examples="beckon regions get shop-mitte")
async def get(session: Session, region: RegionArgument) -> None:
    """Show a region with its shape."""
    from beckon.trigger.v1 import region_service_pb2 as pb

    found = await (await _stub(session)).GetRegion(
        pb.GetRegionRequest(name=session.name("regions", region))
    )
    if session.json:
        write_json(as_dict(found))
        return
    Lines(session.output, _COLUMNS).write([found], _row, as_dict)
    for point in found.polygon.points:
        typer.echo(f"  {point.latitude:g}, {point.longitude:g}")


@command(
    app,
    "set",
    examples="""
    beckon regions set shop-mitte --at 52.52,13.405 --radius 200
    beckon regions set old-town --corner 47.366,8.54 --corner 47.376,8.54 --corner 47.37,8.548
    """,
)
async def set_(
    session: Session,
    region: RegionArgument,
    *,
    at: Annotated[str, typer.Option("--at", metavar="LAT,LON", help="Middle of a circle.")] = "",
    radius: Annotated[
        float, typer.Option("--radius", help="Of the circle, in metres: 10 to 1,000,000.")
    ] = 0,
    corner: Annotated[
        list[str] | None,
        typer.Option("--corner", metavar="LAT,LON", help="Of a polygon, one after another."),
    ] = None,
    display_name: Annotated[str, typer.Option("--name", help="For people.")] = "",
) -> None:
    """Create or replace a region. Who is inside by that enters with her next report."""
    from beckon.trigger.v1 import region_service_pb2 as pb

    if bool(at) == bool(corner):
        raise usage("a region is --at with --radius, or three times --corner or more")
    wanted = pb.Region(name=session.name("regions", region), display_name=display_name)
    if at:
        wanted.circle.center.latitude, wanted.circle.center.longitude = _place(at)
        wanted.circle.radius_m = radius
    for one in corner or ():
        latitude, longitude = _place(one)
        wanted.polygon.points.add(latitude=latitude, longitude=longitude)
    request = pb.UpdateRegionRequest(region=wanted, allow_missing=True)
    request.update_mask.paths.append("*")
    answer = await (await _stub(session)).UpdateRegion(request)
    if session.json:
        write_json(as_dict(answer))
    else:
        Lines(session.output, _COLUMNS).write([answer], _row, as_dict)


@command(app, "delete", examples="beckon regions delete shop-mitte")
async def delete(session: Session, region: RegionArgument) -> None:
    """Remove a region that no active campaign names; nobody is told to have left it."""
    from beckon.trigger.v1 import region_service_pb2 as pb

    name = session.name("regions", region)
    await (await _stub(session)).DeleteRegion(pb.DeleteRegionRequest(name=name))
    if session.json:
        write_json({"name": name, "deleted": True})
    else:
        typer.echo(f"{last(name)} is gone")


@command(
    app,
    "import",
    examples="""
    beckon regions import shops.geojson --dry-run
    beckon regions import shops.geojson --id-property shop_id --radius-property metres
    """,
)
async def import_(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A GeoJSON FeatureCollection.")],
    *,
    id_property: Annotated[
        str, typer.Option("--id-property", help="Holds the id. Default: the feature's own.")
    ] = "",
    name_property: Annotated[
        str, typer.Option("--name-property", help="Holds the name for people.")
    ] = "name",
    radius_property: Annotated[
        str, typer.Option("--radius-property", help="Holds a point's radius in metres.")
    ] = "radius_m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; ask no service.")
    ] = False,
) -> None:
    """Create or replace regions out of GeoJSON: polygons, and points with a radius.

    Each feature stands or falls alone: those that are refused are told with why, and all others
    are there. Doing it again changes nothing. A dry run holds features to the schema; that no
    polygon crosses itself is seen by the service.
    """
    from cli.geojson import Naming, read_features

    naming = Naming(
        parent=session.parent,
        id=id_property,
        display_name=name_property,
        radius_m=radius_property,
    )
    taken = refused = 0
    for feature in read_features(file, naming):
        problem = feature.problem or ("" if dry_run else await _put(session, feature))
        taken += not problem
        refused += bool(problem)
        _tell(session, feature, problem)
    done = "would be taken" if dry_run else "taken"
    if not session.json:
        typer.echo(f"{taken} {done}, {refused} refused")
    if refused:
        raise Problem(f"{refused} of {taken + refused} features are no regions", reason="REFUSED")


async def _put(session: Session, feature: "Feature") -> str:
    """Keep a region; return why it was refused, '' when it was not."""
    import grpc
    import grpc.aio
    from beckon.trigger.v1 import region_service_pb2 as pb

    request = pb.UpdateRegionRequest(region=feature.region, allow_missing=True)
    request.update_mask.paths.append("*")
    try:
        await (await _stub(session)).UpdateRegion(request)
    except grpc.aio.AioRpcError as error:
        if error.code() not in {
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.FAILED_PRECONDITION,
        }:
            raise
        return refusal_of(error).message
    return ""


def _tell(session: Session, feature: "Feature", problem: str) -> None:
    if session.json:
        told = {"feature": feature.number, "id": feature.id, "taken": not problem}
        write_json(told | ({"problem": problem} if problem else {}))
    elif problem:
        named = f" ({feature.id})" if feature.id else ""
        typer.secho(f"feature {feature.number}{named}: {problem}", fg="red", err=True)


def _place(text: str) -> tuple[float, float]:
    try:
        latitude, longitude = (float(one) for one in text.split(","))
    except ValueError as error:
        raise usage(f"{text!r} is no LATITUDE,LONGITUDE") from error
    return latitude, longitude


def _row(region: "Region") -> tuple[str, ...]:
    if region.WhichOneof("shape") == "circle":
        center = region.circle.center
        shape = f"{region.circle.radius_m:g} m around {center.latitude:g}, {center.longitude:g}"
    else:
        shape = f"{len(region.polygon.points)} corners"
    return last(region.name), shape, region.display_name or "-", time_text(region.update_time)
