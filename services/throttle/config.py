"""What throttle must be told."""

from dataclasses import dataclass

from mesh.settings import (
    ServerSettings,
    TelemetrySettings,
    boolean,
    integer,
    server_settings,
    setting,
    telemetry_settings,
    text,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of the throttle service."""

    server: ServerSettings = server_settings("THROTTLE", port=50054)
    telemetry: TelemetrySettings = telemetry_settings()
    database_url: str = setting(
        "THROTTLE_DATABASE_URL",
        text,
        doc="PostgreSQL that keeps consent and frequency caps, in the schema `throttle`",
        secret=True,
    )
    database_connections: int = setting(
        "THROTTLE_DATABASE_CONNECTIONS",
        integer(least=2, most=100),
        default=10,
        doc="Most connections to PostgreSQL; one of them listens for changed caps",
    )
    redis_url: str = setting(
        "THROTTLE_REDIS_URL",
        text,
        doc="Redis that counts sends; it must keep what it acknowledged (appendfsync always)",
        secret=True,
    )
    redis_cluster: bool = setting(
        "THROTTLE_REDIS_CLUSTER",
        boolean,
        default=False,
        doc="Keep the persons of a script to one hash slot, as Redis Cluster demands;"
        " without, a script takes persons of any shard and a batch costs half",
    )
