"""Writes docs/config.md, errors.md, metrics.md and api.md from the code that they describe.

`--check` writes nothing and fails when a page is not what the code says.
"""

import importlib
import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

from beckon.options.v1 import access_pb2
from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
)
from prometheus_client.metrics import MetricWrapperBase

from cli.manifests import schema
from cli.scenarios import schema as scenario_schema
from mesh import metrics
from mesh.settings import Setting, settings_of, size
from stack import plan

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PROTOS = ROOT / "protos"
SERVICES = ("ingest", "profile", "trigger", "throttle", "delivery")
# Numbers of fields in FileDescriptorProto and below it, by which comments are filed.
_SERVICE, _METHOD, _ENUM, _VALUE = 6, 2, 5, 2
GENERATED = "<!-- Written from the code by `make gen`; edits are lost. -->\n\n"
# What the stack reads that is neither a port nor an option of a command.
STACK_SETTINGS = {
    "BECKON_DATABASE_URL": "A PostgreSQL to use instead of the embedded one, as who may create"
    " roles; it must name a database",
    "BECKON_REDIS_URL": "A Redis to use instead of the embedded one",
    "BECKON_KEY": "The API key itself; outranks `BECKON_KEY_FILE`",
    "BECKON_USER_NAMESPACE": "`never`: the embedded PostgreSQL, started by root, becomes `nobody`"
    " instead of entering a user namespace",
}


def main() -> int:
    """Write the pages, or compare them; return the exit code."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a page is stale")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not fresh(path, text)]
    if check:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)} (run `make gen`)", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages()[path])
    print(f"docs: {len(stale)} files changed")
    return 0


def fresh(path: Path, text: str) -> bool:
    """Say whether a page is what it would become."""
    return path.exists() and path.read_text() == text


@cache
def pages() -> Mapping[Path, str]:
    """Return every generated page."""
    made = {"config": config(), "errors": errors(), "metrics": metrics_page(), "api": api()}
    written = {DOCS / f"{name}.md": GENERATED + text for name, text in made.items()}
    schemas = {"beckon.schema.json": manifests(), "scenario.schema.json": scenarios()}
    return written | {DOCS / "schema" / name: text for name, text in schemas.items()}


def manifests() -> str:
    """Return the schema of manifests, as read from the protos as they are now."""
    return schema.text(schema.build(schema.read_comments(schema.PROTOS)))


def scenarios() -> str:
    """Return the schema of scenario files, with that of the manifests in them."""
    return schema.text(scenario_schema.build(schema.read_comments(schema.PROTOS)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


# Settings.


def config() -> str:
    """Return the page of settings."""
    by_service = {
        service: {
            one.env: one
            for one in settings_of(importlib.import_module(f"services.{service}.config").Config)
        }
        for service in SERVICES
    }
    shared = [
        env
        for env in by_service["ingest"]
        if all(env in settings for settings in by_service.values())
    ]
    text = (
        "# Settings\n\n"
        "Read once, at the start, from the environment; a process names every problem together"
        " and ends. A\nsecret is read from the file that `<NAME>_FILE` names, or from `<NAME>`"
        " itself. Spans of time are\nseconds, or take a unit: `200ms`, `30s`, `2m`, `12h`, `7d`;"
        " sizes take `KiB`, `MiB`, `GiB`. A variable\nset to nothing is not set.\n\n"
        "## Every service\n\n"
    )
    text += table(
        ("Variable", "Default", "Meaning"),
        (setting_row(env, by_service) for env in shared),
    )
    for service, settings in by_service.items():
        own = [one for env, one in settings.items() if env not in shared]
        text += f"\n## {service}\n\n"
        text += table(
            ("Variable", "Default", "Meaning"),
            ((f"`{one.env}`", default_of(one), one.doc) for one in own),
        )
    return text + stack_settings()


def setting_row(env: str, by_service: Mapping[str, Mapping[str, Setting]]) -> tuple[str, str, str]:
    """Return the row of a setting that all services have, with the defaults that differ."""
    usual = by_service["ingest"][env]
    others = [
        f"{service}: {default_of(settings[env])}"
        for service, settings in by_service.items()
        if settings[env].default != usual.default
    ]
    return f"`{env}`", "; ".join([default_of(usual), *others]), usual.doc


def default_of(one: Setting) -> str:
    """Return how a default would be written."""
    if one.required:
        return "**required**" + (", secret" if one.secret else "")
    if one.secret:
        return "none; secret"
    return f"`{text}`" if (text := written(one.default, one)) else "none"


def written(value: object, one: Setting) -> str:
    """Return a value as the environment would say it; '' for nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, int) and one.parse is size:
        return next(
            f"{value // unit}{name}"
            for name, unit in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1))
            if value % unit == 0
        )
    if isinstance(value, str | int | float):
        return str(value)
    # Values that a setting parses into something of its own say what they are by hand.
    return {"DELIVERY_SMTP_URL": "smtp://127.0.0.1:25"}.get(one.env, "")


def span(value: timedelta) -> str:
    """Return a span of time in the largest unit that divides it."""
    seconds = value.total_seconds()
    for name, unit in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % unit == 0:
            return f"{seconds / unit:.0f}{name}"
    return f"{seconds:g}s"


def stack_settings() -> str:
    """Return the sections of `beckon up` and of the command."""
    ports = [
        (f"`{plan.port_setting(name)}`", f"`{port}`", f"Port of {what}")
        for name, (port, what) in plan.PORTS.items()
    ]
    return (
        "\n## `beckon up` and the command\n\n"
        "What is set reaches the services too, except addresses, keys and databases, which the"
        " stack decides.\n\n"
        + table(
            ("Variable", "Default", "Meaning"),
            [
                *((f"`{env}`", "none", doc) for env, doc in STACK_SETTINGS.items()),
                *options(),
                *ports,
            ],
        )
    )


def options() -> Iterator[tuple[str, str, str]]:
    """Yield every option of the command that the environment can give."""
    import typer

    from cli.__main__ import app

    found: dict[str, tuple[str, set[str]]] = {}

    def walk(command: object) -> None:
        for parameter in getattr(command, "params", ()):
            envs = parameter.envvar
            for env in [envs] if isinstance(envs, str) else envs or ():
                default = f"`{parameter.default}`" if parameter.default else "none"
                found.setdefault(env, (default, set()))[1].add(f"`{parameter.opts[0]}`")
        for child in getattr(command, "commands", {}).values():
            walk(child)

    walk(typer.main.get_command(app))
    for env, (default, names) in sorted(found.items()):
        yield f"`{env}`", default, f"The option {' or '.join(sorted(names))}"


# Errors and calls, with the comments of their protos.


@cache
def protos() -> list[FileDescriptorProto]:
    """Return our protos with their comments."""
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "set"
        includes = [PROTOS, ROOT / "third_party", files("grpc_tools") / "_proto"]
        import google.api

        # googleapis-common-protos ships its sources beside its modules.
        includes.append(Path(next(iter(google.api.__path__))).parents[1])
        sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"-I{path}" for path in includes),
            *("--include_source_info", f"--descriptor_set_out={out}"),
        ]
        run([*command, *sources], check=True)
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def comment(proto: FileDescriptorProto, *path: int) -> str:
    """Return the comment before an element, on one line."""
    for location in proto.source_code_info.location:
        if tuple(location.path) == path:
            return " ".join(str(location.leading_comments).split())
    return ""


def errors() -> str:
    """Return the page of error reasons."""
    [proto] = [one for one in protos() if one.name.endswith("error_reason.proto")]
    [reasons] = proto.enum_type
    rows = [
        (
            f"`{value.name.removeprefix('ERROR_REASON_')}`",
            comment(proto, _ENUM, 0, _VALUE, number),
        )
        for number, value in enumerate(reasons.value)
        if value.number
    ]
    return (
        "# Errors\n\n"
        "Every refusal carries a `google.rpc.ErrorInfo` with domain `beckon.dev`, one of these"
        " reasons, and the\nmetadata named with it; a refused record of a batch carries the same in"
        " its `google.rpc.Status`. Programs\nread the reason, never the text. Only `UNAVAILABLE` is"
        " worth the same call again; our own clients do\nthat by the service config.\n\n"
        + table(("Reason", "When, and what comes with it"), rows)
    )


def api() -> str:
    """Return the page of calls."""
    text = (
        "# Calls\n\n"
        "What each service answers, with the scope that the caller's key must carry and the time"
        " after which our\nown clients give up. The comments in `protos/` are the reference. *all*"
        " under workspace: the request spans\nworkspaces, so only a key for all of them"
        " (`*`) may call; these calls are for our own services.\n"
    )
    for service in SERVICES:
        text += f"\n## {service}\n"
        deadlines = timeouts(service)
        for proto in protos():
            if proto.package != f"beckon.{service}.v1":
                continue
            for index, one in enumerate(proto.service):
                rows = [
                    call_row(
                        method,
                        comment(proto, _SERVICE, index, _METHOD, number),
                        deadlines.get(f"{proto.package}.{one.name}/{method.name}", "none"),
                    )
                    for number, method in enumerate(one.method)
                ]
                about = comment(proto, _SERVICE, index)
                text += f"\n### {one.name}\n\n{about}\n\n"
                text += table(("Call", "Scope", "Workspace", "Time", "What it does"), rows)
    return text


def call_row(method: MethodDescriptorProto, about: str, timeout: str) -> tuple[str, ...]:
    """Return the row of one call."""
    options = MethodOptions.FromString(method.options.SerializeToString())
    access = options.Extensions[access_pb2.access]
    streams = " ⇄" if method.client_streaming and method.server_streaming else ""
    workspace = f"`{access.workspace_field}`" if access.workspace_field else "*all*"
    first = re.split(r"(?<=[.!?]) (?=[A-Z`])", about)[0]
    return f"`{method.name}`{streams}", f"`{access.scope}`", workspace, timeout, first


def timeouts(service: str) -> dict[str, str]:
    """Return the configured time of each method."""
    config = json.loads((PROTOS / f"beckon/{service}/v1/service_config.json").read_text())
    return {
        f"{name['service']}/{name['method']}": entry.get("timeout", "none")
        for entry in config["methodConfig"]
        for name in entry["name"]
    }


# Metrics.


def metrics_page() -> str:
    """Return the page of metrics."""
    rows = []
    for constant, metric in vars(metrics).items():
        if isinstance(metric, MetricWrapperBase):
            [described] = metric.describe()
            name = described.name + ("_total" if described.type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 — there is no other way
            kind = described.type
            rows.append(
                (f"`{name}`", kind, labels or "none", told_by(constant), described.documentation)
            )
    return (
        "# Metrics\n\n"
        "Served for Prometheus at `<SERVICE>_METRICS_ADDRESS`, path `/metrics`, beside"
        " `process_*` and `python_*`.\nLabels are bounded: never a profile, a campaign or a text"
        " from outside. Which to watch: [operations.md](operations.md).\n\n"
        + table(("Metric", "Kind", "Labels", "Of", "Meaning, and what to do when it moves"), rows)
    )


def told_by(constant: str) -> str:
    """Return the services whose code moves a metric."""
    uses = re.compile(rf"\bmetrics\.{constant}\b|\b{constant}\.(?:labels|inc|observe|set)\b")
    if any(uses.search(path.read_text()) for path in (ROOT / "mesh").rglob("*.py")):
        return "all"
    found = [
        service
        for service in SERVICES
        if any(
            uses.search(path.read_text()) for path in (ROOT / "services" / service).rglob("*.py")
        )
    ]
    return ", ".join(found) or "none"


if __name__ == "__main__":
    sys.exit(main())
