"""`beckon segments`: who belongs together."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.segment_service_pb2 import Segment, SegmentMembership
    from beckon.profile.v1.segment_service_pb2_grpc import SegmentServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Segments: who belongs together.")

SegmentArgument = Annotated[str, typer.Argument(help="Id or name.")]
DescriptionOption = Annotated[str | None, typer.Option("--description", "-d", help="For people.")]

_COLUMNS = ("SEGMENT", "STATE", "MEMBERS", "FILTER", "CHANGED")
_MEMBER_COLUMNS = ("PROFILE", "SINCE", "MAY CHANGE")


async def _stub(session: Session) -> "SegmentServiceAsyncStub":
    from beckon.profile.v1.segment_service_pb2_grpc import SegmentServiceStub

    return SegmentServiceStub(await session.channel("profile"))


@command(app, "list", examples="beckon segments list")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List segments by id."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListSegmentsRequest(parent=session.parent)
    lines = Lines(session.output, _COLUMNS)
    async for page in pages(stub.ListSegments, request, lambda found: found.segments, limit=limit):
        lines.write(page, _row, as_dict)
    lines.end("no segments; `beckon apply -f examples/profiles` brings some")


@command(app, "get", examples="beckon segments get loyal")
async def get(session: Session, segment: SegmentArgument) -> None:
    """Show one segment, with how far its building is."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    from cli.manifests.kinds import SEGMENT
    from cli.manifests.show import show

    stub = await _stub(session)
    found = await stub.GetSegment(pb.GetSegmentRequest(name=session.name("segments", segment)))
    changed = time_text(found.update_time)
    note = f"{_state(found)}, {found.member_count:,} members, changed {changed}"
    show(session, SEGMENT, found, note=note)


@command(
    app,
    "create",
    examples="""
    beckon segments create loyal 'profile.counters["order_placed"].count >= 3'
    beckon segments create silent 'profile.last_seen_time < now - duration("720h")'
    """,
)
async def create(
    session: Session,
    segment: Annotated[str, typer.Argument(help="Its id, kebab-case.")],
    filter_: Annotated[str, typer.Argument(metavar="FILTER", help="CEL over `profile`, `now`.")],
    *,
    description: DescriptionOption = None,
) -> None:
    """Declare a segment. Who is in it when it has been built has entered without an event."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    wanted = pb.Segment(
        name=session.name("segments", segment), filter=filter_, description=description or ""
    )
    stub = await _stub(session)
    _show(session, await stub.CreateSegment(pb.CreateSegmentRequest(segment=wanted)))


@command(
    app,
    "update",
    examples="""
    beckon segments update loyal --filter 'profile.counters["order_placed"].count >= 5'
    beckon segments update loyal --description 'Five orders or more'
    """,
)
async def update(
    session: Session,
    segment: SegmentArgument,
    *,
    filter_: Annotated[
        str | None, typer.Option("--filter", "-f", help="Another one is built anew.")
    ] = None,
    description: DescriptionOption = None,
) -> None:
    """Change a segment; what is not named stays as it is."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    given = {
        field: text
        for field, text in {"filter": filter_, "description": description}.items()
        if text is not None
    }
    if not given:
        raise usage("nothing to change", hint="--filter or --description")
    wanted = pb.Segment(name=session.name("segments", segment), **given)  # type: ignore[arg-type]
    request = pb.UpdateSegmentRequest(segment=wanted)
    request.update_mask.paths.extend(given)
    _show(session, await (await _stub(session)).UpdateSegment(request))


@command(app, "delete", examples="beckon segments delete loyal")
async def delete(session: Session, segment: SegmentArgument) -> None:
    """Remove a segment; nobody is told to have left."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("segments", segment)
    await stub.DeleteSegment(pb.DeleteSegmentRequest(name=name))
    if session.json:
        write_json({"name": name, "deleted": True})
    else:
        typer.echo(f"{last(name)} is gone")


@command(
    app,
    "count",
    examples="""
    beckon segments count 'profile.attributes.tier == "gold"'
    beckon segments count 'event_count("order_placed", duration("720h")) >= 2'
    """,
)
async def count(
    session: Session,
    filter_: Annotated[str, typer.Argument(metavar="FILTER", help="CEL over `profile`, `now`.")],
) -> None:
    """Count the profiles for which a filter holds now, without saving it."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    stub = await _stub(session)
    request = pb.CountSegmentMembersRequest(parent=session.parent, filter=filter_)
    answer = await stub.CountSegmentMembers(request)
    if session.json:
        write_json(as_dict(answer))
        return
    share = answer.count / answer.profile_count if answer.profile_count else 0.0
    typer.echo(f"{answer.count:,} of {answer.profile_count:,} profiles ({share:.1%})")


@command(app, "members", examples="beckon segments members loyal --limit 20")
async def members(session: Session, segment: SegmentArgument, *, limit: Limit = None) -> None:
    """List the members of a segment by profile id, however many."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    from cli.streams import resumed

    stub = await _stub(session)
    request = pb.StreamSegmentMembersRequest(name=session.name("segments", segment))

    def resume_after(response: pb.StreamSegmentMembersResponse) -> None:
        request.after = response.members[-1].profile

    lines = Lines(session.output, _MEMBER_COLUMNS)
    async for response in resumed(stub.StreamSegmentMembers, request, resume_after):
        left = None if limit is None else limit - lines.count
        lines.write(response.members[:left], _member_row, as_dict)
        if limit is not None and lines.count >= limit:
            break
    lines.end("nobody is in it")


@command(app, "explain", examples="beckon segments explain loyal ana")
async def explain(
    session: Session,
    segment: SegmentArgument,
    profile: Annotated[str, typer.Argument(help="Id or name.")],
) -> None:
    """Say whether a person is in a segment, since when, and by which conditions."""
    from beckon.profile.v1 import segment_service_pb2 as pb

    stub = await _stub(session)
    request = pb.GetSegmentMembershipRequest(
        name=session.name("segments", segment), profile=session.name("profiles", profile)
    )
    found = await stub.GetSegmentMembership(request)
    if session.json:
        write_json(as_dict(found))
    else:
        _explain(found)


def _explain(found: "SegmentMembership") -> None:
    who, which = last(found.profile), last(found.segment)
    if found.member:
        typer.echo(f"{who} is in {which} since {time_text(found.enter_time)}")
    else:
        left = f"; left {time_text(found.exit_time)}" if found.HasField("exit_time") else ""
        typer.echo(f"{who} is not in {which}{left}")
    for condition in found.conditions:
        if condition.unknown:
            mark, note = typer.style("?", fg="yellow"), "  (something it asks for is missing)"
        elif condition.holds:
            mark, note = typer.style("✓", fg="green"), ""
        else:
            mark, note = typer.style("✗", fg="red"), ""
        typer.echo(f"  {mark} {condition.expression}{note}")
    if found.HasField("due_time"):
        typer.secho(f"time alone may change it at {time_text(found.due_time)}", dim=True)


def _show(session: Session, segment: "Segment") -> None:
    if session.json:
        write_json(as_dict(segment))
    else:
        Lines(session.output, _COLUMNS).write([segment], _row, as_dict)


def _row(segment: "Segment") -> tuple[str, ...]:
    return (
        last(segment.name),
        _state(segment),
        f"{segment.member_count:,}",
        " ".join(segment.filter.split()),
        time_text(segment.update_time),
    )


def _member_row(member: "SegmentMembership") -> tuple[str, ...]:
    return (last(member.profile), time_text(member.enter_time), time_text(member.due_time))


def _state(segment: "Segment") -> str:
    state = enum_text(segment, "state")
    return f"{state}, {segment.build_progress:.0%}" if state == "building" else state
