"""Logs and spans, set up once, in `__main__`."""

import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TextIO, TypeAlias, cast

import msgspec
import structlog

from mesh import tracing
from mesh.settings import TelemetrySettings

if TYPE_CHECKING:
    from structlog.typing import Processor

_Event: TypeAlias = MutableMapping[str, Any]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Something@something.tld. A log that holds no address cannot leak one.
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_PHONE = re.compile(r"(?<![\w.])\+\d{7,15}(?!\w)")


def set_up(service: str, settings: TelemetrySettings) -> None:
    """Make logs and spans of this process say which service they are of."""
    level = _LEVELS[settings.log_level]
    console = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stdout.isatty()
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        structlog.configure(
            processors=[
                *shared,
                _without_addresses,
                structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lossy(sys.stdout))),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.format_exc_info,
                _without_addresses,
                structlog.processors.JSONRenderer(serializer=_to_json),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(
                cast("BinaryIO", _Lossy(sys.stdout.buffer))
            ),
            cache_logger_on_first_use=True,
        )
    structlog.contextvars.bind_contextvars(service=service)
    _adopt_standard_logging(level)
    tracing.set_up_tracing(service, settings.otlp_endpoint, settings.trace_ratio)


class _Lossy:
    """An output that may fail: a full disk takes lines of the log, and no process with them."""

    def __init__(self, inner: IO[Any]) -> None:
        self._inner = inner

    def write(self, content: Any) -> int:
        with suppress(OSError):
            return self._inner.write(content)
        return 0

    def flush(self) -> None:
        with suppress(OSError):
            self._inner.flush()


class _ToStructlog(logging.Handler):
    """Passes what libraries log on, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            record.levelno,
            "library_logged",
            library=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def _adopt_standard_logging(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    # What libraries tell at info is of no use to who runs Beckon.
    root.setLevel(max(level, logging.WARNING))


def _without_addresses(_logger: object, _method: str, event: _Event) -> _Event:
    """Blot out e-mail addresses and phone numbers in texts, tracebacks included."""
    for key, value in event.items():
        if isinstance(value, str):
            if "@" in value:
                value = _ADDRESS.sub("[address]", value)  # noqa: PLW2901 — blotted in two steps
            if "+" in value and key != "timestamp":
                value = _PHONE.sub("[address]", value)  # noqa: PLW2901
            event[key] = value
    return event


def _to_json(event: object, **_options: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)
