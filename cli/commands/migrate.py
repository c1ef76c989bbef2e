"""`beckon migrate`: brings the schemas of services up to date, for a rollout."""

import asyncio
import os
from dataclasses import make_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from cli.problems import Problem, usage
from cli.session import guarded, help_text


def add_to(app: typer.Typer) -> None:
    """Make `migrate` a command of the app."""
    app.command("migrate", help=help_text(migrate.__doc__ or "", "beckon migrate trigger"))(
        guarded(migrate)
    )


def migrate(
    *,
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE]...", help="Whose. Default: all that have a database."),
    ] = None,
) -> None:
    """Apply the migrations that are missing in the services' databases.

    The databases are those the services themselves are told of: PROFILE_DATABASE_URL, or the file
    that PROFILE_DATABASE_URL_FILE names, and so on. Safe beside others that do the same.
    """
    from mesh.errors import MeshError
    from mesh.migrations import BadMigrations
    from mesh.settings import BadSettings
    from stack.databases import bring_up_to_date
    from stack.plan import WITH_DATABASE

    wanted = services or list(WITH_DATABASE)
    if unknown := sorted(set(wanted) - set(WITH_DATABASE)):
        known = ", ".join(WITH_DATABASE)
        raise usage(f"no database of {', '.join(unknown)}", hint=f"those with one: {known}")
    try:
        urls = _database_urls(wanted)
        folder = Path(str(files("services")))
        applied = asyncio.run(bring_up_to_date(urls, services_folder=folder))
    except BadSettings as error:
        raise Problem(str(error), reason="BAD_SETTINGS") from error
    except BadMigrations as error:
        raise Problem(str(error), reason="BAD_MIGRATIONS") from error
    except MeshError as error:
        raise Problem(error.message, reason="DATABASE_REFUSED") from error
    for service, names in applied.items():
        typer.echo(f"{service}: {', '.join(names) or 'up to date'}")


def _database_urls(services: list[str]) -> dict[str, str]:
    """Return where each service keeps its data, as its own settings say."""
    from mesh.settings import load, setting, text

    def declare(service: str) -> object:
        env = f"{service.upper()}_DATABASE_URL"
        return setting(env, text, secret=True, doc=f"PostgreSQL of {service}")

    fields = [(service, str, declare(service)) for service in services]
    urls: object = load(make_dataclass("DatabaseUrls", fields, frozen=True), os.environ)
    return {service: getattr(urls, service) for service in services}
