"""`beckon plan`: what `beckon apply` would do."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from cli.commands.apply import Files, InFlightOption, Paths, Variables, in_flight_of, read
from cli.output import as_dict, last, time_text, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.campaign_service_pb2 import CampaignVersion

    from cli.manifests.plan import Change

CHANGES = 2
"""Exit code: something would change."""

_SIGNS = {"created": ("+", "green"), "updated": ("~", "yellow"), "unchanged": (" ", None)}
_FATES = {
    "": "go on by the new content (--in-flight says otherwise)",
    "migrate": "go on by the new content",
    "finish": "go on by the content they entered with",
    "exit": "leave",
}


def add_to(app: typer.Typer) -> None:
    """Make `plan` a command of the app."""
    command(
        app,
        "plan",
        examples="""
        beckon plan examples/campaigns
        beckon plan cart.yaml --in-flight finish
        beckon plan campaigns -o json | jq 'select(.drift != [])'
        """,
    )(plan)


async def plan(
    session: Session,
    *,
    paths: Paths = None,
    files: Files = None,
    variables: Variables = None,
    in_flight: InFlightOption = None,
) -> None:
    """Say what `beckon apply` would do with the same files; change nothing.

    Shows every difference line by line, for how many people a changed filter holds before and
    after, who is on the way through a changed campaign and what becomes of them, and what was
    changed by somebody else since a campaign was what its file says.

    Ends with 0 when nothing would change, with 2 when something would, with 1 when the files have
    faults or a service refuses.
    """
    from cli.manifests.apply import Applier
    from cli.manifests.places import Faults
    from cli.manifests.plan import Planner

    faults = Faults()
    documents = read(session, paths, files, variables, faults)
    applier = await Applier.of(session, in_flight=in_flight_of(in_flight))
    await applier.check(documents, faults)
    faults.require_none()
    planner = await Planner.of(session, applier)
    changes = await planner.plan(documents)
    _write(session, changes, "" if in_flight is None else in_flight.value)
    if any(change.result.changed for change in changes):
        raise typer.Exit(CHANGES)


def _write(session: Session, changes: "list[Change]", in_flight: str) -> None:
    if session.json:
        for change in changes:
            write_json(_document(change, in_flight))
        return
    for change in changes:
        sign, color = _SIGNS[change.result.action]
        moved = f" ({change.result.moved})" if change.result.moved else ""
        typer.secho(f"{sign} {change.result.document.title}{moved}", fg=color, bold=True)
        for line in change.difference:
            typer.secho(f"    {line}", fg=_color(line), dim=line.startswith("@@"))
        for note in _notes(change, in_flight):
            typer.secho(f"    {note}", fg="cyan")
    counts = {
        word: sum(change.result.action == word for change in changes)
        for word in ("created", "updated", "unchanged")
    }
    moves = sum(bool(change.result.moved) for change in changes)
    typer.secho(
        f"{counts['created']} to create, {counts['updated']} to change, {moves} to move,"
        f" {counts['unchanged']} as they are",
        dim=True,
    )


def _color(line: str) -> str | None:
    return {"+": "green", "-": "red"}.get(line[:1])


def _notes(change: "Change", in_flight: str) -> Iterator[str]:
    if (audience := change.audience) is not None:
        if audience.before is None:
            yield f"audience: {audience.after:,} people now"
        else:
            delta = audience.after - audience.before
            yield f"audience: {audience.before:,} → {audience.after:,} people ({delta:+,})"
    traffic = change.traffic
    if traffic is not None and change.result.fields and traffic.waiting_count:
        yield f"{traffic.waiting_count:,} waiting {_FATES[in_flight]}"
    if traffic is not None and traffic.sending_count:
        yield f"{traffic.sending_count:,} released already go out as they are"
    for version in change.drift:
        yield f"changed since the file was applied: {_made(version)}"
    if change.last is not None:
        yield f"last changed: {_made(change.last)}"


def _made(version: "CampaignVersion") -> str:
    caller = version.caller or "somebody"
    return f"version {version.version} by {caller}, {time_text(version.create_time)}"


def _document(change: "Change", in_flight: str) -> dict[str, Any]:
    result, audience, traffic = change.result, change.audience, change.traffic
    return {
        "kind": result.document.kind.name,
        "name": result.document.name,
        "action": result.action,
        "fields": list(result.fields),
        "moved": result.moved,
        "state": result.state,
        "difference": list(change.difference),
        "audience": None
        if audience is None
        else {"before": audience.before, "after": audience.after},
        "traffic": None if traffic is None else as_dict(traffic),
        "in_flight": (in_flight or "migrate") if result.action == "updated" else "",
        "drift": [
            {
                "version": version.version,
                "caller": version.caller,
                "create_time": version.create_time.ToJsonString(),
                "campaign": last(version.campaign.name),
            }
            for version in change.drift
        ],
    }
