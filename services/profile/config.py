"""What profile must be told."""

from dataclasses import dataclass
from datetime import timedelta

from mesh.settings import (
    ServerSettings,
    TelemetrySettings,
    address,
    group,
    integer,
    seconds,
    setting,
    telemetry_settings,
    text,
)

_WINDOW_LEAST = timedelta(hours=1)
_WINDOW_MOST = timedelta(days=30)


def _window(value: str) -> timedelta:
    span = seconds(value)
    if not _WINDOW_LEAST <= span <= _WINDOW_MOST:
        message = f"expected 1h to 30d, got {value!r}"
        raise ValueError(message)
    return span


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of the profile service."""

    server: ServerSettings = group(
        ServerSettings,
        prefix="PROFILE",
        address="127.0.0.1:50052",
        metrics_address="127.0.0.1:50152",
        # What ingest took in one request must pass here in one call, with more around it.
        message_bytes_max=32 << 20,
    )
    telemetry: TelemetrySettings = telemetry_settings()
    database_url: str = setting(
        "PROFILE_DATABASE_URL",
        text,
        doc="PostgreSQL that holds profiles and their history, in the schema `profile`",
        secret=True,
    )
    database_connections: int = setting(
        "PROFILE_DATABASE_CONNECTIONS",
        integer(least=2, most=200),
        default=10,
        doc="Connections to PostgreSQL that this process opens at most",
    )
    key: str = setting(
        "PROFILE_KEY", text, secret=True, doc="With which profile calls ingest, for its own events"
    )
    ingest_target: str = setting(
        "PROFILE_INGEST_TARGET", address, default="127.0.0.1:50051", doc="Where ingest is"
    )
    duplicate_window: timedelta = setting(
        "PROFILE_DUPLICATE_SECONDS",
        _window,
        default=timedelta(days=7),
        doc="How long an event id counts once, between receipt and receipt: 1h to 30d",
    )
    answers_kept: timedelta = setting(
        "PROFILE_ANSWERS_SECONDS",
        seconds,
        default=timedelta(days=1),
        doc="How long a repeated log record is answered exactly as the first time; later it still"
        " has no effect, but standings are those of the moment",
    )
    weeks_ahead: int = setting(
        "PROFILE_WEEKS_AHEAD",
        integer(least=1, most=8),
        default=1,
        doc="Partitions of the history that are made before their week comes",
    )
    history_weeks: int = setting(
        "PROFILE_HISTORY_WEEKS",
        # A window of 30 days and traits over 62 days look back into it.
        integer(least=10, most=520),
        default=57,
        doc="Whole weeks for which history is kept beyond the running one, by time of receipt:"
        " 57 is 399 days. Older weeks are dropped, and log records of them refused. How devices"
        " changed hands is kept as long",
    )
    erasure_days: int = setting(
        "PROFILE_ERASURE_DAYS",
        integer(least=1, most=365),
        default=30,
        doc="For how long events of an erased person are refused; longer than the event log and"
        " callers' queues hold any",
    )
