"""`beckon relations`: who follows whom."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.options import Limit
from cli.commands.table_options import (
    Anew,
    Batch,
    Delimiter,
    Errors,
    FileArgument,
    Parallel,
    Resume,
)
from cli.output import Lines, as_dict, last, time_text, write_json
from cli.problems import Detail, Problem
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.relation_service_pb2 import Relation, StreamRelatedResponse
    from beckon.profile.v1.relation_service_pb2_grpc import RelationServiceAsyncStub

    from cli.tables.engine import Outcome

app = typer.Typer(no_args_is_help=True, help="Relations: who follows whom.")

FromArgument = Annotated[str, typer.Argument(metavar="FROM", help="Who: id or name.")]
KindArgument = Annotated[str, typer.Argument(help="follows, friends, member_of, blocks, …")]
ToArgument = Annotated[str, typer.Argument(help="Whom: id or name.")]
Incoming = Annotated[
    bool, typer.Option("--incoming", help="Those to the profile: of `follows`, its followers.")
]

_COLUMNS = ("FROM", "KIND", "TO", "SINCE", "ATTRIBUTES")


async def _stub(session: Session) -> "RelationServiceAsyncStub":
    from beckon.profile.v1.relation_service_pb2_grpc import RelationServiceStub

    return RelationServiceStub(await session.channel("profile"))


@command(
    app,
    "put",
    examples="""
    beckon relations put ana follows ben
    beckon relations put ana member_of wine-club role=taster since:=2019
    """,
)
async def put(
    session: Session,
    from_: FromArgument,
    kind: KindArgument,
    to: ToArgument,
    attributes: Annotated[
        list[str] | None, typer.Argument(help="`key=text` or `key:=json`.")
    ] = None,
) -> None:
    """Write a relation, or write over it."""
    from beckon.profile.v1 import relation_service_pb2 as pb

    from cli.commands.profiles import parse_attributes

    stub = await _stub(session)
    relation = relation_of(session, from_, kind, to, parse_attributes(attributes or []))
    request = pb.BatchPutRelationsRequest(parent=session.parent, relations=[relation])
    answer = await stub.BatchPutRelations(request)
    for status in answer.failed_relations.values():
        from cli.streaming.statuses import why

        refusal = why(status)
        details = [Detail(refusal.where, refusal.message)] if refusal.where else []
        raise Problem(refusal.message, reason=refusal.reason, details=details)
    if session.json:
        write_json(as_dict(answer))
        return
    what = "new" if answer.created_count else "changed" if answer.updated_count else "as it was"
    typer.echo(f"{last(from_)} {kind} {last(to)}: {what}")


@command(app, "delete", examples="beckon relations delete ana follows ben")
async def delete(session: Session, from_: FromArgument, kind: KindArgument, to: ToArgument) -> None:
    """Remove a relation."""
    from beckon.profile.v1 import relation_service_pb2 as pb

    stub = await _stub(session)
    relation = relation_of(session, from_, kind, to, {})
    request = pb.BatchDeleteRelationsRequest(parent=session.parent, relations=[relation])
    answer = await stub.BatchDeleteRelations(request)
    if session.json:
        write_json(as_dict(answer))
    else:
        typer.echo("it is gone" if answer.deleted_count else "there was none")


@command(
    app,
    "list",
    examples="""
    beckon relations list ana
    beckon relations list ana --incoming --kind follows --limit 20
    """,
)
async def list_(
    session: Session,
    profile: Annotated[str, typer.Argument(help="Id or name.")],
    *,
    incoming: Incoming = False,
    kind: Annotated[str, typer.Option("--kind", "-k", help="Only of this kind.")] = "",
    limit: Limit = None,
) -> None:
    """List the relations from a profile, or to it."""
    from beckon.profile.v1 import relation_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListRelationsRequest(
        parent=session.name("profiles", profile), incoming=incoming, kind=kind
    )
    lines = Lines(session.output, _COLUMNS)
    async for page in pages(
        stub.ListRelations, request, lambda found: found.relations, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("no relations")


@command(
    app,
    "related",
    examples="""
    beckon relations related ana follows --incoming --filter 'profile.attributes.tier == "gold"'
    beckon relations related ana friends --mutual -o json | wc -l
    """,
)
async def related(
    session: Session,
    profile: Annotated[str, typer.Argument(help="Id or name.")],
    kind: KindArgument,
    *,
    incoming: Incoming = False,
    mutual: Annotated[
        bool, typer.Option("--mutual", help="Only who is related back by the same kind.")
    ] = False,
    filter_: Annotated[
        str, typer.Option("--filter", "-f", help="CEL over `profile` and `relation.attributes`.")
    ] = "",
    include_blocked: Annotated[
        bool, typer.Option("--include-blocked", help="Also who blocks or is blocked.")
    ] = False,
    limit: Limit = None,
) -> None:
    """Stream the profiles at the other end, each once, however many."""
    from beckon.profile.v1 import relation_service_pb2 as pb

    from cli.streams import resumed

    stub = await _stub(session)
    request = pb.StreamRelatedRequest(
        profile=session.name("profiles", profile),
        kind=kind,
        incoming=incoming,
        mutual=mutual,
        filter=filter_,
        include_blocked=include_blocked,
    )

    def resume_after(response: "StreamRelatedResponse") -> None:
        request.cursor = response.cursor

    lines = Lines(session.output, ("PROFILE", "ATTRIBUTES"))
    async for response in resumed(stub.StreamRelated, request, resume_after):
        left = None if limit is None else limit - lines.count
        lines.write(response.items[:left], _related_row, as_dict)
        if limit is not None and lines.count >= limit:
            break
    lines.end("nobody")


@command(
    app,
    "import",
    examples="""
    beckon relations import follows.csv
    beckon relations import members.jsonl.gz --kind member_of --errors refused.jsonl
    """,
)
async def import_(
    session: Session,
    file: FileArgument,
    *,
    kind: Annotated[
        str, typer.Option("--kind", "-k", help="Of rows that do not say. Default: none.")
    ] = "",
    delimiter: Delimiter = "",
    batch: Batch = 1000,
    parallel: Parallel = 4,
    errors: Errors = None,
    resume: Resume = None,
    anew: Anew = False,
) -> None:
    """Bring relations in from a table with the columns from, kind and to.

    Any other column is an attribute; `attributes` may hold several, as JSON. Stopped, it goes on
    where it was.
    """
    from beckon.profile.v1 import relation_service_pb2 as pb

    from cli.tables.relations import edge, relation_in
    from cli.tables.rows import Row
    from cli.tables.run import Options, run_import

    stub = await _stub(session)

    def relation(row: Row) -> "Relation":
        return relation_in(row, session.parent, kind)

    async def send(relations: "list[Relation]", request_id: str) -> "Outcome":
        del request_id  # Writing a relation twice is writing it once.
        from cli.tables.engine import Outcome

        # No edge twice in a call: of two the later stands.
        latest = {edge(one): index for index, one in enumerate(relations)}
        indexes = list(latest.values())
        request = pb.BatchPutRelationsRequest(
            parent=session.parent, relations=[relations[index] for index in indexes]
        )
        answer = await stub.BatchPutRelations(request)
        failed = {indexes[at]: status for at, status in answer.failed_relations.items()}
        done = answer.created_count + answer.updated_count + len(failed)
        unchanged = len(relations) - done
        return Outcome(answer.created_count, answer.updated_count, unchanged, failed)

    options = Options(
        file=file,
        delimiter=delimiter,
        batch=batch,
        parallel=parallel,
        errors=errors,
        resume=resume,
        anew=anew,
        unsure="",
        repeatable=True,
        columns={"from", "to"} if kind else {"from", "kind", "to"},
        settings={"workspace": session.workspace, "batch": batch, "kind": kind},
        noun="relation",
        dry_run=False,
    )
    await run_import(session, options, relation, send)


def relation_of(
    session: Session, from_: str, kind: str, to: str, attributes: dict[str, Any]
) -> "Relation":
    """Return an edge."""
    from beckon.profile.v1 import relation_service_pb2 as pb

    relation = pb.Relation(kind=kind, to=session.name("profiles", to))
    setattr(relation, "from", session.name("profiles", from_))
    relation.attributes.update(attributes)
    return relation


def _row(relation: "Relation") -> tuple[str, ...]:
    return (
        last(getattr(relation, "from")),
        relation.kind,
        last(relation.to),
        time_text(relation.create_time),
        _attributes(relation),
    )


def _related_row(item: "StreamRelatedResponse.Item") -> tuple[str, ...]:
    return last(item.profile), _attributes(item)


def _attributes(message: Any) -> str:
    found = as_dict(message).get("attributes")
    return json.dumps(found, ensure_ascii=False) if found else ""
