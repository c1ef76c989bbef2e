"""What ingest must be told."""

from dataclasses import dataclass
from datetime import timedelta

from mesh.eventlog.opening import LogSettings
from mesh.settings import (
    ServerSettings,
    TelemetrySettings,
    group,
    integer,
    seconds,
    server_settings,
    setting,
    telemetry_settings,
    text,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of the ingest service."""

    server: ServerSettings = server_settings("INGEST", port=50051)
    telemetry: TelemetrySettings = telemetry_settings()
    log: LogSettings = group(LogSettings, prefix="BECKON")
    redis_url: str = setting(
        "INGEST_REDIS_URL",
        text,
        doc="Redis that remembers recent event ids; losing it loses only early recognition",
        secret=True,
    )
    recent_window: timedelta = setting(
        "INGEST_RECENT_SECONDS",
        seconds,
        default=timedelta(hours=1),
        doc="How long a repeated event id is recognised at the door at least (0: not);"
        " beyond it profile still recognises it",
    )
    stream_credit: int = setting(
        "INGEST_STREAM_CREDIT",
        integer(least=1000, most=1_000_000),
        default=10_000,
        doc="Events that one stream may have under way without an acknowledgement",
    )
