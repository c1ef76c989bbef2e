"""What ingest must be told."""

from dataclasses import dataclass

from mesh.eventlog.opening import LogSettings
from mesh.settings import (
    ServerSettings,
    TelemetrySettings,
    group,
    integer,
    server_settings,
    setting,
    telemetry_settings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of the ingest service."""

    server: ServerSettings = server_settings("INGEST", port=50051)
    telemetry: TelemetrySettings = telemetry_settings()
    log: LogSettings = group(LogSettings, prefix="BECKON")
    recent_events: int = setting(
        "INGEST_RECENT_EVENTS",
        integer(least=0, most=10_000_000),
        default=50_000,
        doc="How many event ids each process knows again at the door, at 230 to 460 bytes each;"
        " beyond them profile recognises a repeat",
    )
    stream_credit: int = setting(
        "INGEST_STREAM_CREDIT",
        integer(least=1000, most=1_000_000),
        default=10_000,
        doc="Events that one stream may have under way without an acknowledgement",
    )
