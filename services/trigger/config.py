"""What trigger must be told."""

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
class WorkerSettings:
    """How the worker works; the defaults are measured."""

    lanes: int = setting(
        "TRIGGER_LANES",
        integer(least=1, most=16),
        default=2,
        doc="Turns under way at a time: one waits for profile or the database, another judges",
    )
    turn_events: int = setting(
        "TRIGGER_TURN_EVENTS",
        integer(least=1, most=3000),
        default=1000,
        doc="Events of one turn, which profile observes and PostgreSQL commits together",
    )
    read_records: int = setting(
        "TRIGGER_READ_RECORDS",
        integer(least=1, most=10_000),
        default=256,
        doc="Records of the log read at a time by a lane, over all its partitions",
    )
    read_wait: timedelta = setting(
        "TRIGGER_READ_WAIT_SECONDS",
        seconds,
        default=timedelta(seconds=1),
        doc="How long a read waits for the first record; new partitions are noticed after it",
    )
    partition_lease: timedelta = setting(
        "TRIGGER_PARTITION_LEASE_SECONDS",
        seconds,
        default=timedelta(seconds=6),
        doc="After how long a dead worker's partitions go to others; renewed at a third of it",
    )
    send_lease: timedelta = setting(
        "TRIGGER_SEND_LEASE_SECONDS",
        seconds,
        default=timedelta(seconds=15),
        doc="After how long a dead worker's sends are relayed by others",
    )
    claim_every: timedelta = setting(
        "TRIGGER_CLAIM_SECONDS",
        seconds,
        default=timedelta(seconds=2),
        doc="How often sends that a dead worker left are looked for",
    )
    relay_batch: int = setting(
        "TRIGGER_RELAY_BATCH",
        integer(least=1, most=1000),
        default=500,
        doc="Sends handed to throttle and delivery in one call",
    )
    relay_lanes: int = setting(
        "TRIGGER_RELAY_LANES",
        integer(least=1, most=16),
        default=2,
        doc="Calls to throttle and delivery under way at a time",
    )
    broadcast_lanes: int = setting(
        "TRIGGER_BROADCAST_LANES",
        integer(least=1, most=16),
        default=2,
        doc="Broadcasts gone through at a time",
    )
    broadcast_lease: timedelta = setting(
        "TRIGGER_BROADCAST_LEASE_SECONDS",
        seconds,
        default=timedelta(seconds=30),
        doc="How long one page of a broadcast may take before another process goes on with it",
    )
    owed_max: int = setting(
        "TRIGGER_OWED_MAX",
        integer(least=1, most=1_000_000),
        default=5000,
        doc="Sends held while throttle or delivery are slow; reading the log stops beyond it",
    )
    timer_batch: int = setting(
        "TRIGGER_TIMER_BATCH",
        integer(least=1, most=1000),
        default=500,
        doc="Timers fired at a time",
    )
    retention: timedelta = setting(
        "TRIGGER_RETENTION_SECONDS",
        seconds,
        default=timedelta(days=90),
        doc="How long decisions and ended enrollments are kept; re-entry looks back for ever",
    )
    log_retention: timedelta = setting(
        "TRIGGER_LOG_RETENTION_SECONDS",
        seconds,
        default=timedelta(hours=1),
        doc="How long records stay in the event log after they were judged",
    )
    sweep_every: timedelta = setting(
        "TRIGGER_SWEEP_SECONDS",
        seconds,
        default=timedelta(minutes=1),
        doc="How often what is past its retention is deleted and the log is trimmed",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of the trigger service."""

    server: ServerSettings = server_settings("TRIGGER", port=50053)
    telemetry: TelemetrySettings = telemetry_settings()
    log: LogSettings = group(LogSettings, prefix="BECKON")
    worker: WorkerSettings = group(WorkerSettings, prefix="TRIGGER")
    database_url: str = setting(
        "TRIGGER_DATABASE_URL",
        text,
        doc="PostgreSQL holding campaigns, enrollments, decisions and how far the log is judged",
        secret=True,
    )
    database_size: int = setting(
        "TRIGGER_DATABASE_CONNECTIONS",
        integer(least=4, most=1000),
        default=12,
        doc="Connections to PostgreSQL at most",
    )
    profile_target: str = setting(
        "TRIGGER_PROFILE_TARGET", text, default="127.0.0.1:50052", doc="Where profile answers"
    )
    throttle_target: str = setting(
        "TRIGGER_THROTTLE_TARGET", text, default="127.0.0.1:50054", doc="Where throttle answers"
    )
    delivery_target: str = setting(
        "TRIGGER_DELIVERY_TARGET", text, default="127.0.0.1:50055", doc="Where delivery answers"
    )
    key: str = setting(
        "TRIGGER_KEY", text, doc="Key with which trigger calls its peers", secret=True
    )
