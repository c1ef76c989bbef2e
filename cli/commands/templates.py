"""`beckon templates`: what messages say."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.delivery.v1.template_service_pb2 import Template
    from beckon.delivery.v1.template_service_pb2_grpc import TemplateServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Templates: what messages say.")

# Sources are long; `get` shows them whole.
_SUBJECT = 60

TemplateArgument = Annotated[str, typer.Argument(help="Id or name.")]


async def _stub(session: Session) -> "TemplateServiceAsyncStub":
    from beckon.delivery.v1.template_service_pb2_grpc import TemplateServiceStub

    return TemplateServiceStub(await session.channel("delivery"))


@command(app, "list", examples="beckon templates list")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List templates by id."""
    from beckon.delivery.v1 import template_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListTemplatesRequest(parent=session.parent)
    lines = Lines(session.output, ("TEMPLATE", "PARTS", "DEFAULTS", "CHANGED", "SUBJECT"))
    async for page in pages(
        stub.ListTemplates, request, lambda found: found.templates, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("no templates; `beckon apply -f examples/campaigns` brings some")


@command(app, "get", examples="beckon templates get order-confirmation")
async def get(session: Session, template: TemplateArgument) -> None:
    """Show one template."""
    from beckon.delivery.v1 import template_service_pb2 as pb

    from cli.manifests.kinds import TEMPLATE
    from cli.manifests.show import show

    stub = await _stub(session)
    name = session.name("templates", template)
    found = await stub.GetTemplate(pb.GetTemplateRequest(name=name))
    show(session, TEMPLATE, found)


@command(
    app,
    "render",
    examples="""
    beckon templates render order-confirmation --data '{"event": {"properties": {"order_id": "1"}}}'
    beckon templates render order-confirmation --data @data.json
    """,
)
async def render(
    session: Session,
    template: TemplateArgument,
    *,
    data: Annotated[
        str,
        typer.Option("--data", "-d", help="JSON with `event` and `profile`; @FILE reads a file."),
    ] = "{}",
) -> None:
    """Render a template with given data; nothing is sent."""
    from beckon.delivery.v1 import template_service_pb2 as pb
    from google.protobuf.json_format import ParseDict, ParseError

    try:
        content = json.loads(Path(data[1:]).read_text() if data.startswith("@") else data)
        request = ParseDict(
            {"name": session.name("templates", template), "data": content},
            pb.RenderTemplateRequest(),
        )
    except (OSError, ValueError, ParseError) as error:
        raise usage(f"--data is no JSON object: {error}") from error
    rendered = await (await _stub(session)).RenderTemplate(request)
    if session.json:
        write_json(as_dict(rendered))
        return
    if rendered.email_subject:
        sys.stdout.write(f"Subject: {rendered.email_subject}\n\n{rendered.email_text}\n")
    if rendered.email_html:
        sys.stdout.write(f"\n--- HTML ---\n{rendered.email_html}\n")
    if rendered.webhook_body:
        sys.stdout.write(f"{rendered.webhook_body}\n")


def _row(template: "Template") -> tuple[str, ...]:
    parts = [part for part in ("email", "webhook") if template.HasField(part)]
    return (
        last(template.name),
        ", ".join(parts),
        str(len(template.defaults)),
        time_text(template.update_time),
        template.email.subject[:_SUBJECT],
    )
