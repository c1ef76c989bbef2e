"""Shows one resource: to people as the YAML that would bring it about, to programs as JSON."""

import typer
from google.protobuf.message import Message

from cli.manifests.kinds import Kind
from cli.manifests.write import to_yaml
from cli.output import as_dict, write_json
from cli.session import Session


def show(session: Session, kind: Kind, found: Message, *, note: str = "") -> None:
    """Write the resource; the note is what no manifest says of it, for people."""
    if session.json:
        write_json(as_dict(found))
        return
    typer.echo(to_yaml(kind, found), nl=False)
    if note:
        typer.secho(f"# {note}", dim=True)
