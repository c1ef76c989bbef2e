"""Makes sure that a stack comes up whole, explains what stops it, and leaves nothing behind."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import PIPE, Popen

import asyncpg
import psutil
import pytest

from stack import plan, state
from stack.databases import bring_up_to_date, set_up
from stack.errors import PortTaken, StackError, StateInUse
from stack.processes import lives
from stack.servers import Postgres
from stack.up import Stack
from tests.stack.conftest import Eventually

Command = Callable[[str], list[str]]


def bare(folder: Path) -> Stack:
    """Return a stack of servers only, on free ports."""
    return Stack(folder, ports="auto", services=[], sinks="none", collector=False, durable=False)


async def test_a_stack_comes_up_whole(tmp_path: Path, dummy_service: Command) -> None:
    commands = {name: dummy_service(name) for name in plan.SERVICES}

    async with Stack(tmp_path / "state", ports="auto", commands=commands) as stack:
        running = {name for name in stack.processes if stack.running(name)}
        found = state.read(tmp_path / "state")

        assert running == {
            *plan.SERVICES,
            plan.POSTGRES,
            plan.REDIS,
            plan.MAIL_SINK,
            plan.WEBHOOK_SINK,
            plan.COLLECTOR,
        }
        assert found == stack.state
        assert found.services["ingest"] == f"127.0.0.1:{stack.ports['ingest']}"
        assert len(found.admin_key) >= 32


async def test_a_killed_service_comes_back(tmp_path: Path, dummy_service: Command) -> None:
    commands = {"trigger": dummy_service("trigger")}
    stack = Stack(
        tmp_path / "state",
        ports="auto",
        services=["trigger"],
        commands=commands,
        sinks="none",
        collector=False,
        durable=False,
    )
    async with stack:
        first = stack.pid("trigger")

        stack.kill("trigger")
        await stack.wait_until_up("trigger")

        assert stack.pid("trigger") != first
        assert stack.restarts("trigger") == 1


async def test_a_stopped_stack_is_not_found(tmp_path: Path) -> None:
    async with bare(tmp_path):
        pass

    with pytest.raises(StackError, match=r"no stack runs on .*beckon up"):
        state.read(tmp_path)


async def test_the_next_start_finds_the_data_again(tmp_path: Path) -> None:
    async with bare(tmp_path) as stack:
        await execute(stack.state.database_urls["trigger"], "CREATE TABLE t AS SELECT 7 AS kept")

    async with bare(tmp_path) as stack:
        kept = await fetch(stack.state.database_urls["trigger"], "SELECT kept FROM t")

    assert kept == 7


async def test_two_stacks_run_beside_each_other(tmp_path: Path) -> None:
    async with bare(tmp_path / "one") as one, bare(tmp_path / "two") as two:
        await execute(one.state.database_url, "CREATE TABLE things AS SELECT 1 AS thing")

        tables = await fetch(two.state.database_url, "SELECT to_regclass('things')")

        assert tables is None
        assert set(one.ports.values()).isdisjoint(two.ports.values())


async def test_a_second_stack_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with bare(tmp_path):
        with pytest.raises(StateInUse, match=rf"process {os.getpid()}.*BECKON_STATE"):
            async with bare(tmp_path):
                pass


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StackError, match=r"file cannot hold .*: File exists; .*BECKON_STATE"):
        async with bare(tmp_path / "file"):
            pass


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@127.0.0.1:1/beckon", "postgresql://me:secret@127.0.0.1:x/b"]
)
async def test_a_database_that_cannot_be_used_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(StackError, match=r"cannot be used: .*BECKON_DATABASE_URL") as refused:
        await set_up(url, services=["profile"], passwords=tmp_path / "passwords")

    assert "secret" not in str(refused.value)


async def test_a_taken_port_is_named_with_its_purpose_and_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        environ = dict(os.environ, BECKON_REDIS_PORT=str(port))
        stack = Stack(
            tmp_path, ports="auto", services=[], sinks="none", collector=False, environ=environ
        )

        with pytest.raises(PortTaken) as refused:
            async with stack:
                pass

    assert str(refused.value) == (
        f"port {port} (the embedded Redis) is taken on 127.0.0.1; set BECKON_REDIS_PORT to another"
        " port, or start with `--ports auto` to have free ones chosen"
    )


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StackError, match=r"BECKON_REDIS_PORT is .*expected a port"):
        plan.choose_ports("fixed", {"BECKON_REDIS_PORT": text}, names=["redis"])


def test_two_names_on_one_port_are_refused() -> None:
    environ = {"BECKON_REDIS_PORT": "50432"}

    with pytest.raises(StackError, match="BECKON_POSTGRES_PORT and BECKON_REDIS_PORT are both"):
        plan.choose_ports("fixed", environ, names=["postgres", "redis"])


async def test_a_service_that_does_not_start_takes_everything_down_with_it(tmp_path: Path) -> None:
    stack = Stack(
        tmp_path,
        ports="auto",
        services=["throttle"],
        commands={"throttle": [sys.executable, "-c", "raise SystemExit('THROTTLE_X is not set')"]},
        sinks="none",
        collector=False,
        durable=False,
    )

    with pytest.raises(StackError, match=r"(?s)throttle ended.*THROTTLE_X is not set.*config\.md"):
        async with stack:
            pass

    assert children_on(tmp_path) == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_nothing_outlives_the_supervisor(
    tmp_path: Path, eventually: Eventually, sign: signal.Signals
) -> None:
    folder = tmp_path / "state"
    supervisor, family = await supervised(folder)

    supervisor.send_signal(sign)
    supervisor.wait()
    await eventually(lambda: not any(map(lives, family)))

    sockets = [path for path in folder.rglob("*") if path.is_socket()]
    assert sockets == []
    assert not list(folder.rglob("postmaster.pid"))
    with pytest.raises(StackError, match="no stack runs"):
        state.read(folder)


async def test_a_stack_starts_again_right_after_its_supervisor_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    supervisor, _ = await supervised(folder)
    ports = {"BECKON_POSTGRES_PORT": port(folder, "database_url")}

    supervisor.kill()
    supervisor.wait()
    again, _ = await supervised(folder, environ=ports)

    again.terminate()
    assert again.wait() == 0


async def test_a_role_reads_its_own_schema_only(tmp_path: Path) -> None:
    async with bare(tmp_path) as stack:
        urls = stack.state.database_urls
        await execute(urls["profile"], "CREATE TABLE secrets AS SELECT 7 AS secret")

        own = await fetch(urls["profile"], "SELECT secret FROM profile.secrets")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(urls["delivery"], "SELECT secret FROM profile.secrets")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(urls["delivery"], "CREATE TABLE profile.more (i int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(urls["delivery"], "CREATE SCHEMA more")

    assert own == 7


async def test_a_database_of_ones_own_replaces_the_embedded_one(
    tmp_path: Path, postgres_url: str, redis_url: str
) -> None:
    environ = dict(os.environ, BECKON_DATABASE_URL=postgres_url, BECKON_REDIS_URL=redis_url)
    stack = Stack(
        tmp_path, ports="auto", services=[], sinks="none", collector=False, environ=environ
    )
    async with stack:
        role = await fetch(stack.state.database_urls["throttle"], "SELECT current_user")

        assert stack.processes == []
        assert stack.state.redis_url == redis_url
        assert str(role).endswith("_throttle")


async def test_where_roles_may_not_be_made_the_services_share_the_one_given(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    whole = await postgres_server.create_database("hosted")
    await execute(whole, "CREATE ROLE tenant LOGIN PASSWORD 'tenant'")
    await execute(whole, "GRANT CREATE ON DATABASE hosted TO tenant")
    hosted = postgres_server.url_of("hosted", user="tenant", password="tenant")

    urls = await set_up(hosted, services=["trigger"], passwords=tmp_path / "passwords.json")
    applied = await bring_up_to_date(urls, services_folder=migrations_of("trigger", tmp_path))

    assert urls == {"trigger": hosted}
    assert applied == {"trigger": ["0001_things.sql"]}
    assert await fetch(hosted, "SELECT count(*) FROM trigger.things") == 0


def migrations_of(service: str, folder: Path) -> Path:
    """Return a folder of services, one of which has a migration."""
    migrations = folder / "services" / service / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "0001_things.sql").write_text("CREATE TABLE things (thing int);")
    return folder / "services"


def test_the_environment_of_a_service_cannot_point_it_elsewhere() -> None:
    environ = {"TRIGGER_DATABASE_URL_FILE": "/elsewhere", "TRIGGER_LEASE_SECONDS": "5"}
    around = plan.Surroundings(
        ports={"trigger": 1, "trigger_metrics": 2, "profile": 3},
        database_urls={"trigger": "postgresql://here"},
        redis_url="redis://here",
        keys_file=Path("keyring.json"),
        key_files={"trigger": Path("trigger.key")},
        otlp_endpoint="",
    )

    told = plan.environment_of("trigger", around, environ=environ, settings={"X": "1"})

    assert told["TRIGGER_DATABASE_URL"] == "postgresql://here"
    assert "TRIGGER_DATABASE_URL_FILE" not in told
    assert told["TRIGGER_PROFILE_TARGET"] == "127.0.0.1:3"
    assert told["TRIGGER_LEASE_SECONDS"] == "5"
    assert told["X"] == "1"


async def supervised(
    folder: Path, *, environ: Mapping[str, str] | None = None
) -> tuple[Popen[bytes], list[psutil.Process]]:
    """Start a stack without services in a process of its own; return it and its descendants."""
    command = [sys.executable, "-m", "stack", "--ports", "auto", "--state", str(folder)]
    supervisor = Popen(  # noqa: ASYNC220 — its pipe is read by a thread, as its end is waited for.
        [*command, "--services"], stdout=PIPE, env=dict(os.environ, **(environ or {}))
    )
    lines: list[bytes] = []
    while not any(line.startswith(b"all up") for line in lines):
        line = await asyncio.to_thread(supervisor.stdout.readline) if supervisor.stdout else b""
        assert line, lines
        lines.append(line)
    return supervisor, psutil.Process(supervisor.pid).children(recursive=True)


def port(folder: Path, name: str) -> str:
    return str(getattr(state.read(folder), name)).rpartition(":")[2].split("/")[0]


def children_on(folder: Path) -> list[psutil.Process]:
    """Return the living processes of ours that have something to do with a folder."""
    ours = psutil.Process().children(recursive=True)
    return [child for child in ours if lives(child) and str(folder) in " ".join(child.cmdline())]


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
