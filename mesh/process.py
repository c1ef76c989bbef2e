"""How every service's process begins."""

import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from mesh import telemetry
from mesh.server import run
from mesh.settings import BadSettings, ServerSettings, TelemetrySettings, load
from mesh.tracing import shut_down_tracing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = structlog.get_logger(__name__)


class Config(Protocol):
    """What the settings of every service hold."""

    @property
    def server(self) -> ServerSettings:
        """How it serves."""
        ...

    @property
    def telemetry(self) -> TelemetrySettings:
        """How it logs and traces."""
        ...


if TYPE_CHECKING:

    class _Settings(DataclassInstance, Config, Protocol):
        pass


_C = TypeVar("_C", bound="_Settings")


def start(
    service: str, settings: type[_C], main: Callable[[_C], Coroutine[Any, Any, None]]
) -> None:
    """Read the settings, begin to log and trace, and run `main` to its end.

    Settings that cannot be used are all told in one line; the process ends with 1.
    """
    try:
        config = load(settings, os.environ)
    except BadSettings as error:
        log.error("bad_settings", service=service, problems=error.problems)
        raise SystemExit(1) from None
    telemetry.set_up(service, config.telemetry)
    try:
        run(main(config), config.server)
    finally:
        shut_down_tracing()
