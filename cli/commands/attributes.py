"""`beckon attributes`: what is known of people in a workspace, and of which type it is."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.attribute_service_pb2 import Attribute
    from beckon.profile.v1.attribute_service_pb2_grpc import AttributeServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Attributes: what is known of people, by type.")

_COLUMNS = ("ATTRIBUTE", "TYPE", "SINCE")


async def _stub(session: Session) -> "AttributeServiceAsyncStub":
    from beckon.profile.v1.attribute_service_pb2_grpc import AttributeServiceStub

    return AttributeServiceStub(await session.channel("profile"))


@command(app, "list", examples="beckon attributes list")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List attributes by key."""
    from beckon.profile.v1 import attribute_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListAttributesRequest(parent=session.parent)
    lines = Lines(session.output, _COLUMNS)
    async for page in pages(
        stub.ListAttributes, request, lambda found: found.attributes, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("no attributes; the first write of one makes it known")


@command(app, "create", examples="beckon attributes create trial_end --type timestamp")
async def create(
    session: Session,
    key: Annotated[str, typer.Argument(help="As profiles have it.")],
    *,
    type_: Annotated[
        str,
        typer.Option("--type", "-t", help="string, number, boolean, timestamp, list or object."),
    ],
) -> None:
    """Declare an attribute before its first write. Its type is for good."""
    from beckon.profile.v1 import attribute_service_pb2 as pb

    from cli.choices import choice

    wanted = pb.Attribute(
        name=session.name("attributes", key), type=choice(pb.Attribute.Type, type_, "--type")
    )
    answer = await (await _stub(session)).CreateAttribute(
        pb.CreateAttributeRequest(attribute=wanted)
    )
    if session.json:
        write_json(as_dict(answer))
    else:
        Lines(session.output, _COLUMNS).write([answer], _row, as_dict)


def _row(attribute: "Attribute") -> tuple[str, ...]:
    return (last(attribute.name), enum_text(attribute, "type"), time_text(attribute.create_time))
