"""A whole Beckon on one machine: servers, services, sinks and collector, as one thing."""

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Literal, Self

from stack import plan, ready
from stack import state as states
from stack.databases import bring_up_to_date, make_database, set_up
from stack.errors import PortTaken, StackError
from stack.follow import follow
from stack.keys import make_keys
from stack.plan import COLLECTOR, MAIL_SINK, MAIL_SINK_CONTROL, POSTGRES, REDIS, WEBHOOK_SINK
from stack.ports import HOST
from stack.servers import Postgres, Redis
from stack.supervisor import Program, Runnable, Supervisor, Usage

DATABASE_SETTING = "BECKON_DATABASE_URL"
REDIS_SETTING = "BECKON_REDIS_URL"

# After a kill of the last supervisor its servers need a moment to write and go.
_PORTS_PATIENCE = 5.0

Sinks = Literal["file", "memory", "none"]
Tell = Callable[[str], None]


def _tell_nobody(line: str) -> None:
    del line


class Stack:
    """A running Beckon, for the length of an `async with` block.

    What dies comes back; at the end, and after our own end however sudden, nothing is left running.
    The data stays in the state folder and is found again by the next start.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        ports: Literal["fixed", "auto"] = "fixed",
        services: Sequence[str] = plan.SERVICES,
        commands: Mapping[str, Sequence[str]] | None = None,
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        sinks: Sinks = "file",
        collector: bool = True,
        durable: bool = True,
        tell: Tell = _tell_nobody,
        verbose: bool = False,
    ) -> None:
        """Describe a stack.

        Args:
            folder: Where everything is kept; $BECKON_STATE or ./.beckon by default.
            ports: The usual ones or free ones; a port's own setting outranks both.
            services: Which of the five to run.
            commands: Other commands than `python -m services.<name>`, by service.
            settings: Settings for every service, outranking everything.
            environ: The environment; this process's by default.
            sinks: Keep what arrives in files, only count it, or run no sinks.
            collector: Whether to run a span collector, and send spans to it.
            durable: Whether servers write to the disk before they answer.
            tell: Called with each line of progress.
            verbose: Whether to tell every line of every log, too.
        """
        self.folder = (folder or states.folder(environ)).absolute()
        self._environ = dict(os.environ if environ is None else environ)
        self._settings = dict(settings or {})
        self._services = tuple(services)
        self._commands = dict(commands or {})
        self._sinks: Sinks = sinks
        self._collector = collector
        self._durable = durable
        self._tell = tell
        self._verbose = verbose
        self._ports_wanted: Literal["fixed", "auto"] = ports
        self._exit = AsyncExitStack()
        self._supervisor = Supervisor(tell)
        self.ports: dict[str, int] = {}
        """The port of everything that runs."""
        self.start_seconds: dict[str, float] = {}
        """How long each part took to come up; "all" for the whole."""

    @property
    def state(self) -> states.State:
        """Every address, path and key file, as others read it."""
        return self._state

    @property
    def processes(self) -> list[str]:
        """The names of all processes, in the order of starting."""
        return self._supervisor.names

    def pid(self, name: str) -> int:
        """Return the process id of one that runs."""
        return self._supervisor[name].pid

    def usage(self, name: str) -> Usage:
        """Return memory and CPU of a process and its descendants."""
        return self._supervisor.usage(name)

    def log(self, name: str) -> Path:
        """Return where a process writes its log."""
        return self._supervisor[name].log

    def restarts(self, name: str) -> int:
        """Return how often a process came back after dying."""
        return self._supervisor.restarts(name)

    def running(self, name: str) -> bool:
        """Say whether a process runs; it may not be ready yet."""
        return self._supervisor[name].running

    def kill(self, name: str, *, stay_down: bool = False) -> None:
        """End a process as kill -9 does; it comes back by itself, unless told to stay down."""
        self._supervisor.kill(name, stay_down=stay_down)

    async def stop(self, name: str) -> None:
        """Stop a process in good order; it stays down until `start`."""
        await self._supervisor.stop(name)

    async def start(self, name: str) -> None:
        """Start a process that is down; return when it is ready."""
        await self._supervisor.start_again(name)

    async def restart(self, name: str) -> None:
        """Stop a process in good order and start it; return when it is ready."""
        await self._supervisor.restart(name)

    async def wait_until_up(self, name: str, *, limit: float = 60.0) -> None:
        """Wait until a process that was killed is ready again."""
        await self._supervisor.wait_until_up(name, limit=limit)

    async def __aenter__(self) -> Self:
        """Bring everything up, in order; on a failure take down what came up.

        Raises:
            StackError: Saying what failed, with the end of its log, and what to do.
        """
        try:
            await self._bring_up()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take everything down, services before what they stand on."""
        await self._exit.__aexit__(kind, error, traceback)

    async def _bring_up(self) -> None:
        begun = perf_counter()
        self._exit.enter_context(states.owned(self.folder))
        self.ports = plan.choose_ports(
            self._ports_wanted, self._environ, names=self._names_of_ports()
        )
        await self._wait_for_ports()
        await self._exit.enter_async_context(self._supervisor)
        self._exit.push_async_callback(self._take_down)
        self._exit.callback(states.forget, self.folder)
        around = await self._start_surroundings()
        self._state = self._describe(around)
        await self._start_services(around)
        states.write(self._state)
        if self._verbose:
            self._supervisor.accompany(follow(self._state.logs, self._tell))
        self.start_seconds["all"] = perf_counter() - begun
        self._tell(f"all up in {self.start_seconds['all']:.1f} s")

    async def _take_down(self) -> None:
        """Stop in waves, so that nothing loses what it stands on while it finishes."""
        names = self._supervisor.names
        servers = [name for name in names if name in {POSTGRES, REDIS}]
        services = [name for name in names if name in self._services]
        await self._supervisor.stop_all(services)
        await self._supervisor.stop_all(name for name in names if name not in servers)
        await self._supervisor.stop_all(servers)

    def _names_of_ports(self) -> list[str]:
        names = [name for one in self._services for name in (one, f"{one}_metrics")]
        if not self._environ.get(DATABASE_SETTING):
            names.append(POSTGRES)
        if not self._environ.get(REDIS_SETTING):
            names.append(REDIS)
        if self._sinks != "none":
            names += [MAIL_SINK, MAIL_SINK_CONTROL, WEBHOOK_SINK]
        if self._collector:
            names.append(COLLECTOR)
        return names

    async def _wait_for_ports(self) -> None:
        begun = perf_counter()
        # Only a stack that did not end in good order leaves its file, and maybe servers on the way.
        patience = _PORTS_PATIENCE if (self.folder / "stack.json").exists() else 0.0
        while True:
            try:
                plan.require_free_ports(self.ports)
            except PortTaken:
                if perf_counter() - begun > patience:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def _start_surroundings(self) -> plan.Surroundings:
        """Start servers and sinks side by side, then prepare what the services find there."""
        servers: dict[str, Runnable] = {}
        if POSTGRES in self.ports:
            servers[POSTGRES] = Postgres(
                self.folder / POSTGRES, port=self.ports[POSTGRES], durable=self._durable
            )
        if REDIS in self.ports:
            servers[REDIS] = Redis(
                self.folder / REDIS, port=self.ports[REDIS], durable=self._durable
            )
        await self._start_wave(servers | self._sinks_and_collector())
        self._database_url = await self._database(servers.get(POSTGRES))
        urls = await set_up(
            self._database_url,
            services=plan.WITH_DATABASE,
            passwords=self.folder / "databases.json",
        )
        await self._migrate(urls)
        redis = servers.get(REDIS)
        keys_file, key_files = make_keys(self.folder / "keys", plan.SERVICES)
        return plan.Surroundings(
            ports=self.ports,
            database_urls=urls,
            redis_url=redis.url if isinstance(redis, Redis) else self._environ[REDIS_SETTING],
            keys_file=keys_file,
            key_files=key_files,
            otlp_endpoint=self._endpoint(),
            durable=self._durable,
        )

    async def _database(self, server: Runnable | None) -> str:
        if isinstance(server, Postgres):
            return await make_database(server.url)
        return self._environ[DATABASE_SETTING]

    async def _migrate(self, urls: dict[str, str]) -> None:
        begun = perf_counter()
        applied = await bring_up_to_date(urls, services_folder=_services_folder())
        self.start_seconds["migrations"] = perf_counter() - begun
        for service, names in applied.items():
            for name in names:
                self._tell(f"{service}: applied {name}")

    def _sinks_and_collector(self) -> dict[str, Runnable]:
        wave: dict[str, Runnable] = {}
        if self._sinks != "none":
            control = f"--control={plan.address(self.ports, MAIL_SINK_CONTROL)}"
            wave[MAIL_SINK] = self._sink(MAIL_SINK, "mail", "mails", control)
            wave[WEBHOOK_SINK] = self._sink(WEBHOOK_SINK, "webhook", "webhooks")
        if self._collector:
            store = f"--store={self.folder / 'spans.sqlite'}"
            wave[COLLECTOR] = self._program(COLLECTOR, "stack.collector", store)
        return wave

    def _sink(self, name: str, module: str, store: str, *more: str) -> Program:
        where = f"--store={self.folder / store}.sqlite"
        how = "--memory" if self._sinks == "memory" else where
        return self._program(name, f"stack.sinks.{module}", how, *more)

    def _program(self, name: str, module: str, *arguments: str) -> Program:
        listen = plan.address(self.ports, name)
        return Program(
            name,
            [sys.executable, "-m", module, f"--listen={listen}", *arguments],
            environment=self._environ,
            log=self.folder / "logs" / f"{name}.log",
            ready=lambda: ready.listens(HOST, self.ports[name]),
        )

    async def _start_services(self, around: plan.Surroundings) -> None:
        await self._start_wave({name: self._service(name, around) for name in self._services})

    def _service(self, name: str, around: plan.Surroundings) -> Program:
        target = plan.address(self.ports, name)
        return Program(
            name,
            self._commands.get(name) or [sys.executable, "-m", f"services.{name}"],
            environment=plan.environment_of(
                name, around, environ=self._environ, settings=self._settings
            ),
            log=self.folder / "logs" / f"{name}.log",
            ready=lambda: ready.serves(target),
            advice=f"its settings begin with {name.upper()}_ and are listed in docs/config.md",
        )

    async def _start_wave(self, wave: Mapping[str, Runnable]) -> None:
        await self._supervisor.start(wave)
        for name, runnable in wave.items():
            if isinstance(runnable, (Program, Postgres, Redis)):
                self.start_seconds[name] = runnable.start_seconds
                self._tell(f"{name}: up in {runnable.start_seconds:.1f} s, process {runnable.pid}")

    def _endpoint(self) -> str:
        return f"http://{plan.address(self.ports, COLLECTOR)}" if self._collector else ""

    def _describe(self, around: plan.Surroundings) -> states.State:
        addresses = {name: plan.address(self.ports, name) for name in self.ports}
        webhook = addresses.get(WEBHOOK_SINK, "")
        control = addresses.get(MAIL_SINK_CONTROL, "")
        logs = {name: self.log(name) for name in self.processes}
        logs |= {name: self.folder / "logs" / f"{name}.log" for name in self._services}
        return states.State(
            folder=self.folder,
            pid=os.getpid(),
            services={name: addresses[name] for name in self._services},
            metrics={name: addresses[f"{name}_metrics"] for name in self._services},
            database_url=self._database_url,
            database_urls=dict(around.database_urls),
            redis_url=around.redis_url,
            mail_sink=addresses.get(MAIL_SINK, ""),
            mail_sink_control=f"http://{control}" if control else "",
            webhook_sink=f"http://{webhook}" if webhook else "",
            collector=around.otlp_endpoint,
            mail_store=self.folder / "mails.sqlite",
            webhook_store=self.folder / "webhooks.sqlite",
            span_store=self.folder / "spans.sqlite",
            keys_file=around.keys_file,
            key_files=dict(around.key_files),
            logs=logs,
        )


async def up(stack: Stack, *, announce: Callable[[states.State], None] | None = None) -> None:
    """Run a stack until SIGTERM or SIGINT; `announce` is told once all is up.

    A signal during the start ends it as well.
    """
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    if running is None:
        raise StackError("up() must be awaited within a task")
    told = False

    def end() -> None:
        nonlocal told
        # A second signal would cut the taking down short, and leave more behind than it saves.
        if not told:
            told = True
            running.cancel()

    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, end)
    with suppress(asyncio.CancelledError):
        async with stack:
            if announce is not None:
                announce(stack.state)
            await asyncio.Event().wait()


def _services_folder() -> Path:
    """Return the folder of the services without importing any."""
    spec = importlib.util.find_spec("services")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("the package `services` is not installed")
    return Path(next(iter(spec.submodule_search_locations)))
