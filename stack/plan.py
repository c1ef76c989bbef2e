"""What a stack consists of: its ports, and what each service is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stack.errors import StackError
from stack.ports import HOST, free_ports, require_free

SERVICES = ("profile", "throttle", "delivery", "trigger", "ingest")

# Those that keep something in PostgreSQL.
WITH_DATABASE = ("profile", "trigger", "throttle", "delivery")

POSTGRES = "postgres"
REDIS = "redis"
MAIL_SINK = "mail_sink"
MAIL_SINK_CONTROL = "mail_sink_control"
WEBHOOK_SINK = "webhook_sink"
COLLECTOR = "collector"

# One port and what it is for; the setting that moves it is BECKON_<NAME>_PORT.
PORTS: Mapping[str, tuple[int, str]] = {
    "ingest": (50051, "gRPC of the ingest service"),
    "profile": (50052, "gRPC of the profile service"),
    "trigger": (50053, "gRPC of the trigger service"),
    "throttle": (50054, "gRPC of the throttle service"),
    "delivery": (50055, "gRPC of the delivery service"),
    "ingest_metrics": (50151, "metrics of the ingest service"),
    "profile_metrics": (50152, "metrics of the profile service"),
    "trigger_metrics": (50153, "metrics of the trigger service"),
    "throttle_metrics": (50154, "metrics of the throttle service"),
    "delivery_metrics": (50155, "metrics of the delivery service"),
    POSTGRES: (50432, "the embedded PostgreSQL"),
    REDIS: (50379, "the embedded Redis"),
    MAIL_SINK: (50025, "SMTP of the mail sink"),
    MAIL_SINK_CONTROL: (50026, "counts and faults of the mail sink"),
    WEBHOOK_SINK: (50080, "HTTP of the webhook sink"),
    COLLECTOR: (50317, "OTLP of the span collector"),
}

_PORT_MAX = 65_535

# What a stack on one machine prefers; the environment may say otherwise.
_PREFERENCES = {
    "BECKON_LOG_PARTITIONS": "16",
    "BECKON_TRACE_RATIO": "1.0",
    # No balancer has to notice that a process is about to end.
    "BECKON_DRAIN_SECONDS": "0",
    "BECKON_GRACE_SECONDS": "5",
    "BECKON_LOG_FORMAT": "json",
    "PYTHONUNBUFFERED": "1",
}


def choose_ports(
    wanted: Literal["fixed", "auto"], environ: Mapping[str, str], *, names: Sequence[str]
) -> dict[str, int]:
    """Return the port of each name: its setting's, or else its usual one or a free one.

    Raises:
        StackError: A setting is no port, or two names were given the same one.
    """
    free = dict(zip(names, free_ports(len(names)), strict=True)) if wanted == "auto" else {}
    chosen = {name: _given(name, environ) or free.get(name) or PORTS[name][0] for name in names}
    by_port: dict[int, str] = {}
    for name, port in chosen.items():
        if port in by_port:
            raise StackError(
                f"{port_setting(by_port[port])} and {port_setting(name)} are both {port}"
            )
        by_port[port] = name
    return chosen


def _given(name: str, environ: Mapping[str, str]) -> int | None:
    text = environ.get(port_setting(name))
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) <= _PORT_MAX:
        raise StackError(f"{port_setting(name)} is {text!r}, expected a port, 1 to {_PORT_MAX}")
    return int(text)


def require_free_ports(ports: Mapping[str, int]) -> None:
    """Refuse a port that is in use.

    Raises:
        PortTaken: Naming the port, what it is for and its setting.
    """
    for name, port in ports.items():
        require_free(port, PORTS[name][1], port_setting(name))


def port_setting(name: str) -> str:
    """Return the name of the setting that moves a port."""
    return f"BECKON_{name.upper()}_PORT"


def address(ports: Mapping[str, int], name: str) -> str:
    """Return where something listens."""
    return f"{HOST}:{ports[name]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the services of a stack find around them."""

    ports: Mapping[str, int]
    database_urls: Mapping[str, str]
    redis_url: str
    keys_file: Path
    key_files: Mapping[str, Path]
    otlp_endpoint: str
    """'' for none."""
    durable: bool = True
    """Whether servers write to the disk before they answer."""


def environment_of(
    service: str, around: Surroundings, *, environ: Mapping[str, str], settings: Mapping[str, str]
) -> dict[str, str]:
    """Return what a service is told.

    `settings` have the last word; then what only the stack can know (addresses, keys); then the
    environment; then what a stack prefers.
    """
    prefix = service.upper()
    decided = {
        "BECKON_LOG_URL": around.redis_url,
        "BECKON_REDIS_URL": around.redis_url,
        "BECKON_KEYS_FILE": str(around.keys_file),
        f"{prefix}_REDIS_URL": around.redis_url,
        f"{prefix}_KEY_FILE": str(around.key_files[service]),
        f"{prefix}_ADDRESS": address(around.ports, service),
        f"{prefix}_METRICS_ADDRESS": address(around.ports, f"{service}_metrics"),
    }
    if service in around.database_urls:
        decided[f"{prefix}_DATABASE_URL"] = around.database_urls[service]
    for peer in SERVICES:
        if peer in around.ports:
            decided[f"{prefix}_{peer.upper()}_TARGET"] = address(around.ports, peer)
    preferred = dict(_PREFERENCES)
    if around.otlp_endpoint:
        preferred["OTEL_EXPORTER_OTLP_ENDPOINT"] = around.otlp_endpoint
    if not around.durable:
        preferred["BECKON_LOG_ALLOW_LOSSY"] = "true"
    if MAIL_SINK in around.ports:
        preferred["DELIVERY_SMTP_URL"] = f"smtp://{address(around.ports, MAIL_SINK)}"
    if WEBHOOK_SINK in around.ports:
        # Of this machine, webhooks may reach the sink and nothing else.
        port = around.ports[WEBHOOK_SINK]
        preferred["DELIVERY_WEBHOOK_ALLOWED_HOSTS"] = f"{HOST}:{port},localhost:{port}"
    # `X_FILE` would outrank an `X` that we decided.
    given = {
        name: text for name, text in environ.items() if name.removesuffix("_FILE") not in decided
    }
    return preferred | given | decided | dict(settings)
