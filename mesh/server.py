"""Serves: the chain around every call, health, metrics, workers, and an orderly end."""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc.aio
import prometheus_client
import structlog
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.callers import KeyRing
from mesh.health import Check, Health
from mesh.interceptors.callers import admit, read_access
from mesh.interceptors.deadline import keep_deadline
from mesh.interceptors.errors import map_errors
from mesh.interceptors.logs import log_calls
from mesh.interceptors.middleware import Chain, Middleware
from mesh.interceptors.trace import follow_trace
from mesh.interceptors.validate import validate
from mesh.settings import BadSettings, ServerSettings

log = structlog.get_logger(__name__)

# A turn of a thousand events makes tens of thousands of values and lets go of all of them without
# cycles: to look among them for cycles costs a tenth of the CPU, and what cycles there are (errors
# with their tracebacks) stay small until this many have gathered.
COLLECTOR_THRESHOLDS = (200_000, 20, 50)

# More calls than this at once only make each other late.
_CALLS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Service:
    """One proto service and how its servicer is registered."""

    register: Callable[[grpc.aio.Server], None]
    full_name: str
    """`beckon.ingest.v1.IngestService`."""


class Stopping:
    """Tells workers that it is time to end."""

    def __init__(self) -> None:
        """Begin unset."""
        self._event = asyncio.Event()

    def is_set(self) -> bool:
        """Say whether it is time."""
        return self._event.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is time, at most so many seconds; say whether it is."""
        if seconds is None:
            await self._event.wait()
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True

    def set(self) -> None:
        """Say that it is time."""
        self._event.set()


Worker: TypeAlias = Callable[[Stopping], Awaitable[None]]


class WorkerCrashed(Exception):
    """A worker ended although nobody told it to; the process must end too."""


def chain(
    settings: ServerSettings,
    services: Sequence[Service],
    *,
    self_validating: frozenset[str] = frozenset(),
) -> list[Middleware]:
    """Return what happens around every call, outermost first. The only place that orders it."""
    keys = KeyRing.load(settings.keys_file)
    rules = read_access([service.full_name for service in services])
    return [
        follow_trace,  # everything below can name its trace
        log_calls,  # sees the final code, whoever set it
        map_errors,  # everything below may raise
        admit(keys, rules),  # strangers cost nothing more
        keep_deadline,  # nothing begins that cannot finish
        validate(self_validating=self_validating),  # handlers see valid requests only
    ]


async def serve(
    settings: ServerSettings,
    services: Sequence[Service],
    *,
    checks: Mapping[str, Check] | None = None,
    workers: Sequence[Worker] = (),
    self_validating: frozenset[str] = frozenset(),
    stop: Stopping | None = None,
    on_serving: Callable[[int], None] | None = None,
) -> None:
    """Serve until a signal (or `stop`), then end in order.

    NOT_SERVING, `drain` for balancers to notice, running calls get `grace`,
    then workers are told and get `grace` too.

    Raises:
        WorkerCrashed: A worker ended by itself; everything else was stopped.
        BadSettings: An address is taken.
        NoAccessRule: A method does not say who may call it.
    """
    stop = stop or Stopping()
    middlewares = chain(settings, services, self_validating=self_validating)
    health = Health(
        [service.full_name for service in services],
        checks or {},
        interval=settings.health_interval,
        misses=settings.health_misses,
    )
    server = grpc.aio.server(interceptors=[Chain(middlewares)], options=_options(settings))
    for service in services:
        service.register(server)
    _add_standard_services(server, health, services)
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals(stop))
        stack.enter_context(_metrics(settings))
        port = _bind(server, settings)
        _spare_the_collector()
        await health.begin()
        await server.start()
        # Not a TaskGroup: what ends after what is the point here. All are awaited below.
        health_task = asyncio.ensure_future(health.run())  # noqa: TID251 — awaited below
        worker_stop = Stopping()
        tasks = [
            asyncio.ensure_future(_run(worker, worker_stop))  # noqa: TID251 — awaited below
            for worker in workers
        ]
        log.info("serving", address=settings.address, port=port, methods=_count(services))
        if on_serving is not None:
            on_serving(port)
        crash = await _until_stopped(stop, [*tasks, health_task])
        await _end(server, health, settings, crashed=crash is not None)
        health_task.cancel()
        crash = await _end_workers(tasks, worker_stop, settings) or crash
        await asyncio.gather(health_task, return_exceptions=True)
    if crash is not None:
        message = f"a worker crashed: {type(crash).__name__}"
        raise WorkerCrashed(message) from crash
    log.info("stopped")


def run(main: Coroutine[Any, Any, None], settings: ServerSettings | None = None) -> None:
    """Run the process: on uvloop unless told otherwise; 0 at an orderly end, 1 at any other.

    For `__main__`; never returns normally to anything that could go on.
    """
    use_uvloop = settings is None or settings.uvloop
    factory = uvloop.new_event_loop if use_uvloop else asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)
    except BadSettings as error:
        log.error("bad_settings", problems=error.problems)
        sys.exit(1)
    except WorkerCrashed:
        # Logged with its stack when it happened.
        sys.exit(1)
    except Exception:
        log.exception("process_crashed")
        sys.exit(1)


def _spare_the_collector() -> None:
    """Look for reference cycles less often, and not among what lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def _run(worker: Worker, stop: Stopping) -> None:
    await worker(stop)
    if not stop.is_set():
        message = "the worker returned before it was told to stop"
        raise WorkerCrashed(message)


async def _until_stopped(
    stop: Stopping, tasks: Sequence["asyncio.Future[None]"]
) -> BaseException | None:
    """Wait for the stop or the first task that ends by itself; return why it did."""
    stopped = asyncio.ensure_future(stop.wait())  # noqa: TID251 — cancelled below
    waited: set[asyncio.Future[Any]] = {stopped, *tasks}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in tasks:
        if task.done():
            error = None if task.cancelled() else task.exception()
            crash = error or WorkerCrashed("cancelled from outside")
            log.error("worker_crashed", exc_info=crash)
            return crash
    return None


async def _end(
    server: grpc.aio.Server, health: Health, settings: ServerSettings, *, crashed: bool
) -> None:
    log.info("draining", seconds=settings.drain.total_seconds())
    await health.end()
    if not crashed:
        await asyncio.sleep(settings.drain.total_seconds())
    await server.stop(settings.grace.total_seconds())


async def _end_workers(
    tasks: Sequence["asyncio.Future[None]"], stop: Stopping, settings: ServerSettings
) -> BaseException | None:
    """Tell the workers and await them; return the error of one that crashed meanwhile."""
    stop.set()
    pending: set[asyncio.Future[None]] = set(tasks)
    if pending:
        _, pending = await asyncio.wait(pending, timeout=settings.grace.total_seconds())
    for task in pending:
        log.error("worker_did_not_stop", seconds=settings.grace.total_seconds())
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            return result
    return None


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    age = round(settings.connection_age_max.total_seconds() * 1000)
    return [
        # Otherwise a second server binds the same port and both answer.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_connection_age_ms", age),
        ("grpc.max_connection_age_grace_ms", round(settings.grace.total_seconds() * 1000)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Our own clients ping every 30 s, also between calls.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_concurrent_streams", _CALLS_MAX),
    ]


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> int:
    try:
        return server.add_insecure_port(settings.address)
    except RuntimeError as error:
        problem = (
            f"{settings.prefix}_ADDRESS: cannot listen on {settings.address}; "
            "is the port taken, or the host not ours?"
        )
        raise BadSettings([problem]) from error


def _add_standard_services(
    server: grpc.aio.Server, health: Health, services: Sequence[Service]
) -> None:
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection(
        [
            *(service.full_name for service in services),
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        ],
        server,
    )


class _metrics:  # noqa: N801 — reads as a verb where it is used
    """Serves Prometheus for as long as it is entered."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._stop: Callable[[], None] | None = None

    def __enter__(self) -> None:
        address = self._settings.metrics_address
        if not address:
            return
        host, _, port = address.rpartition(":")
        try:
            web, thread = prometheus_client.start_http_server(int(port), host.strip("[]"))
        except OSError as error:
            problem = f"{self._settings.prefix}_METRICS_ADDRESS: cannot listen on {address}"
            raise BadSettings([f"{problem}: {error.strerror}"]) from error
        log.info("serving_metrics", address=address, port=web.server_port)

        def stop() -> None:
            web.shutdown()
            web.server_close()
            thread.join()

        self._stop = stop

    def __exit__(self, *_: object) -> None:
        if self._stop is not None:
            self._stop()


class _signals:  # noqa: N801 — reads as a verb where it is used
    """Turns SIGTERM and SIGINT into `stop` for as long as it is entered."""

    def __init__(self, stop: Stopping) -> None:
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        # Only the main thread may take signals; tests serve in others.
        self._taken = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self._taken:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._stop.set)

    def __exit__(self, *_: object) -> None:
        if self._taken:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.remove_signal_handler(number)


def _count(services: Sequence[Service]) -> int:
    return len(read_access([service.full_name for service in services]))


@asynccontextmanager
async def serving(
    settings: ServerSettings,
    services: Sequence[Service],
    *,
    checks: Mapping[str, Check] | None = None,
    workers: Sequence[Worker] = (),
    self_validating: frozenset[str] = frozenset(),
) -> AsyncIterator[str]:
    """Serve for as long as it is entered; gives the address. For tests and tools."""
    stop = Stopping()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(  # noqa: TID251 — awaited below
        serve(
            settings,
            services,
            checks=checks,
            workers=workers,
            self_validating=self_validating,
            stop=stop,
            on_serving=port.set_result,
        )
    )
    either: set[asyncio.Future[Any]] = {task, port}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield f"{settings.address.rpartition(':')[0]}:{port.result()}"
    finally:
        stop.set()
        await task
