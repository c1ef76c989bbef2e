"""`beckon trace`: one event's whole way, as a tree."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import write_json
from cli.problems import Problem, usage
from cli.session import Session, command

if TYPE_CHECKING:
    from stack.spans import Span

_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_DELIVERY_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def add_to(app: typer.Typer) -> None:
    """Make `trace` a command of the app."""
    command(
        app,
        "trace",
        examples="""
        beckon trace 5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11
        beckon trace workspaces/main/deliveries/5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11
        beckon trace 4bf92f3577b34da6a3ce929d0e0e4736 -o json
        """,
    )(trace)


async def trace(
    session: Session,
    what: Annotated[
        str, typer.Argument(metavar="MESSAGE|TRACE", help="A message's id or name, or a trace id.")
    ],
) -> None:
    """Print the tree of a message's trace, from the event's arrival to the provider's answer.

    The spans are those of the local stack's collector.
    """
    from cli.traces import draw, summary
    from stack.spans import read_trace

    trace_id = what.lower() if _TRACE_ID.fullmatch(what) else await _trace_of(session, what)
    file = session.stack.span_store
    spans = read_trace(file, trace_id)
    if not spans:
        raise Problem(
            f"no spans of trace {trace_id} at the collector",
            reason="TRACE_NOT_FOUND",
            hint="spans arrive some seconds after the fact; with BECKON_TRACE_RATIO below 1 only"
            " what led to a message is kept",
        )
    if session.json:
        write_json({"trace_id": trace_id, "spans": [_document(span) for span in spans]})
        return
    typer.secho(f"trace {trace_id}: {summary(spans)}", bold=True)
    for line in draw(spans):
        typer.echo(line)


async def _trace_of(session: Session, message: str) -> str:
    from beckon.delivery.v1 import delivery_service_pb2 as pb
    from beckon.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub

    if not _DELIVERY_ID.fullmatch(message.rpartition("/")[2]):
        raise usage(
            f"{message!r} is neither a message nor a trace",
            hint="a message's id has dashes (`beckon messages list`), a trace's 32 digits",
        )
    stub = DeliveryServiceStub(await session.channel("delivery"))
    name = session.name("deliveries", message.lower())
    delivery = await stub.GetDelivery(pb.GetDeliveryRequest(name=name))
    if not delivery.trace_id:
        raise Problem(
            "the message was not traced",
            reason="NOT_TRACED",
            hint="OTEL_EXPORTER_OTLP_ENDPOINT switches tracing on; `beckon up` sets it",
        )
    return delivery.trace_id


def _document(span: "Span") -> dict[str, Any]:
    return {
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "service": span.service,
        "name": span.name,
        "start_time_unix_nano": span.start_time,
        "end_time_unix_nano": span.end_time,
        "error": span.error,
        "attributes": span.attributes,
    }
