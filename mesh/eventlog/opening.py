"""Chooses the event log by the scheme of its URL. The only place that knows which there are."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from mesh.eventlog.port import EventLog
from mesh.eventlog.redis_streams import RedisStreams
from mesh.settings import boolean, integer, setting, text


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where the event log is; the same for all that append and read."""

    url: str = setting(
        "BECKON_LOG_URL",
        text,
        doc="Event log: redis://[:password@]host:port[/db] or rediss://",
        secret=True,
    )
    partitions: int = setting(
        "BECKON_LOG_PARTITIONS",
        integer(least=1, most=1024),
        default=16,
        doc="Partitions of the event log: 1 to 1,024; may grow, never shrink",
    )
    allow_lossy: bool = setting(
        "BECKON_LOG_ALLOW_LOSSY",
        boolean,
        default=False,
        doc="Takes a Redis that can lose acknowledged events of the last second",
    )


def open_log(settings: LogSettings) -> AbstractAsyncContextManager[EventLog]:
    """Open the event log that the settings name; close it with the context."""
    scheme = settings.url.partition("://")[0]
    if scheme in {"redis", "rediss", "unix"}:
        return RedisStreams.connect(
            settings.url, partitions=settings.partitions, allow_lossy=settings.allow_lossy
        )
    message = f"BECKON_LOG_URL: no event log speaks {scheme!r}; redis:// and rediss:// are known"
    raise ValueError(message)
