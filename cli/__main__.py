"""Puts the `beckon` command together. Nothing here decides anything."""

from typing import Annotated

import typer

from cli.commands import (
    apply,
    attributes,
    broadcasts,
    campaigns,
    caps,
    decisions,
    demo,
    devices,
    events,
    explain,
    inbox,
    messages,
    migrate,
    plan,
    profiles,
    quarantine,
    regions,
    relations,
    segments,
    settings,
    subscriptions,
    templates,
    test,
    trace,
    traits,
    up,
)

app = typer.Typer(
    name="beckon",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turns what people do into messages, each sent once.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"beckon {version('beckon')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say which.")
    ] = False,
) -> None:
    del version


up.add_to(app)
demo.add_to(app)
plan.add_to(app)
apply.add_to(app)
test.add_to(app)
explain.add_to(app)
trace.add_to(app)
migrate.add_to(app)
for name, group in {
    "events": events.app,
    "messages": messages.app,
    "decisions": decisions.app,
    "campaigns": campaigns.app,
    "broadcasts": broadcasts.app,
    "templates": templates.app,
    "profiles": profiles.app,
    "attributes": attributes.app,
    "devices": devices.app,
    "relations": relations.app,
    "traits": traits.app,
    "segments": segments.app,
    "regions": regions.app,
    "subscriptions": subscriptions.app,
    "caps": caps.app,
    "settings": settings.app,
    "quarantine": quarantine.app,
    "inbox": inbox.app,
}.items():
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
