"""What the tests of mesh share: a service that echoes, generated for the run."""

import importlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import grpc_tools  # type: ignore[import-untyped]
import msgspec
import pytest

from mesh.callers import key_entry
from mesh.server import Service, serving
from mesh.settings import ServerSettings

ROOT = Path(__file__).parents[2]
WORKSPACE_KEY = "key-of-acme"
READER_KEY = "key-of-a-reader"
ADMIN_KEY = "key-of-everything"


@dataclass
class Echo:
    """The generated modules of the echo service."""

    pb: Any
    rpc: Any


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Echo:
    """Generate the echo service into a folder of this run."""
    folder = tmp_path_factory.mktemp("gen")
    includes = [
        ROOT / "tests" / "protos",
        ROOT / "protos",
        ROOT / "third_party",
        Path(grpc_tools.__file__).parent / "_proto",
        *(Path(path) for path in importlib.import_module("google").__path__[:1]),
    ]
    import google.api.field_behavior_pb2

    includes[-1] = Path(google.api.field_behavior_pb2.__file__).parents[2]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            *(f"-I{path}" for path in includes),
            "echo/v1/echo_service.proto",
        ],
        check=True,
    )
    sys.path.insert(0, str(folder))
    return Echo(
        importlib.import_module("echo.v1.echo_service_pb2"),
        importlib.import_module("echo.v1.echo_service_pb2_grpc"),
    )


class Behaviour:
    """What the echo servicer does; a test replaces what it is about."""

    def __init__(self, echo: Echo) -> None:
        self.echo = echo
        self.seen: list[Any] = []
        self.act: Callable[[Any], Any] | None = None

    async def Echo(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        if self.act is not None:
            await self.act(context)
        return self.echo.pb.EchoResponse(word=request.word)

    async def Repeat(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.seen.append(request)
        for _ in range(3):
            yield self.echo.pb.EchoResponse(word=request.word)
        if self.act is not None:
            await self.act(context)

    async def Collect(self, requests: AsyncIterator[Any], context: Any) -> Any:
        words = []
        async for request in requests:
            self.seen.append(request)
            words.append(request.word)
        return self.echo.pb.EchoResponse(word=" ".join(words))

    async def Chat(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            self.seen.append(request)
            yield self.echo.pb.EchoResponse(word=request.word)

    async def Survey(self, request: Any, context: Any) -> Any:
        return self.echo.pb.EchoResponse(word="all")

    def service(self) -> Service:
        return Service(
            lambda server: self.echo.rpc.add_EchoServiceServicer_to_server(self, server),
            "echo.v1.EchoService",
        )


@pytest.fixture
def behaviour(echo: Echo) -> Behaviour:
    return Behaviour(echo)


@pytest.fixture
def server_settings(tmp_path: Path) -> ServerSettings:
    """Settings of a quick server with three callers."""
    keys = tmp_path / "keys.json"
    entries = [
        key_entry("acme", WORKSPACE_KEY, workspaces=["acme"]),
        key_entry("reader", READER_KEY, workspaces=["*"], scopes=["echo:read"]),
        key_entry("admin", ADMIN_KEY),
    ]
    keys.write_bytes(msgspec.json.encode(entries))
    return ServerSettings(
        prefix="ECHO",
        address="127.0.0.1:0",
        keys_file=keys,
        message_bytes_max=1 << 16,
        drain=timedelta(0),
        grace=timedelta(seconds=2),
        health_interval=timedelta(milliseconds=100),
    )


@dataclass
class Running:
    """A running echo server and a plain channel to it."""

    address: str
    channel: grpc.aio.Channel
    stub: Any
    metadata: list[tuple[str, str]] = field(
        default_factory=lambda: [("authorization", f"Bearer {WORKSPACE_KEY}")]
    )


@pytest.fixture
async def running(
    echo: Echo, behaviour: Behaviour, server_settings: ServerSettings
) -> AsyncIterator[Running]:
    async with (
        serving(server_settings, [behaviour.service()]) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Running(address, channel, echo.rpc.EchoServiceStub(channel))
