"""Makes sure of what happens around every call, over real sockets."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from prometheus_client import REGISTRY

from mesh import client, deadlines, errors
from mesh.callers import Caller, current_caller
from mesh.interceptors.callers import NoAccessRule
from mesh.interceptors.middleware import Call, Middleware, around
from mesh.interceptors.trace import current_traceparent
from mesh.server import Service, chain, serving
from mesh.settings import ServerSettings
from tests.mesh.conftest import ADMIN_KEY, READER_KEY, WORKSPACE_KEY, Behaviour, Echo, Running

NAME = "workspaces/acme/things/one"


def bearer(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_the_chain_is_in_its_order(server_settings: ServerSettings, behaviour: Behaviour) -> None:
    names = [middleware.__name__ for middleware in chain(server_settings, [behaviour.service()])]

    assert names == [
        "follow_trace",
        "log_calls",
        "map_errors",
        "admit_call",
        "keep_deadline",
        "validate_call",
    ]


async def test_a_call_of_each_kind_is_answered(echo: Echo, running: Running) -> None:
    request = echo.pb.EchoRequest(name=NAME, word="hi")
    sent = {"metadata": running.metadata}

    async def requests() -> Any:
        for _ in range(3):
            yield request

    assert (await running.stub.Echo(request, **sent)).word == "hi"
    assert [one.word async for one in running.stub.Repeat(request, **sent)] == ["hi"] * 3
    assert (await running.stub.Collect(requests(), **sent)).word == "hi hi hi"
    assert [one.word async for one in running.stub.Chat(requests(), **sent)] == ["hi"] * 3


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound, grpc.StatusCode.NOT_FOUND),
        (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
        (errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Aborted, grpc.StatusCode.ABORTED),
        (errors.ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
        (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
        (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
@pytest.mark.parametrize("method", ["Echo", "Repeat"])
async def test_every_error_arrives_with_its_code_and_reason(
    kind: type[errors.MeshError],
    code: grpc.StatusCode,
    method: str,
    echo: Echo,
    behaviour: Behaviour,
    running: Running,
) -> None:
    async def act(_: Any) -> None:
        raise kind(
            ErrorReason.ERROR_REASON_CONFLICT,
            "so it is",
            metadata={"key": "value"},
            violations=[errors.FieldViolation("word", "is bad", "rule")],
            retry_delay=timedelta(seconds=2),
        )

    behaviour.act = act
    call = getattr(running.stub, method)(echo.pb.EchoRequest(name=NAME), metadata=running.metadata)
    error = await refused(call if method == "Echo" else anext_of_all(call))

    assert error.code() is code
    assert error.details() == "so it is"
    assert errors.reason_of(error) == "CONFLICT"
    assert errors.metadata_of(error) == {"key": "value"}
    assert errors.violations_of(error) == [errors.FieldViolation("word", "is bad", "rule")]
    assert retry_seconds(error) == 2


async def anext_of_all(call: Any) -> None:
    async for _ in call:
        pass


def retry_seconds(error: grpc.aio.AioRpcError) -> int:
    trailing = dict(iter(error.trailing_metadata()))
    for detail in Status.FromString(trailing["grpc-status-details-bin"]).details:
        info = RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.seconds
    return 0


async def test_a_bug_arrives_as_an_id_to_quote(
    echo: Echo, behaviour: Behaviour, running: Running
) -> None:
    async def act(_: Any) -> None:
        raise RuntimeError("SELECT secret FROM mail WHERE address = 'ann@example.com'")

    behaviour.act = act
    error = await refused(
        running.stub.Echo(echo.pb.EchoRequest(name=NAME), metadata=running.metadata)
    )

    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "internal error"
    assert len(errors.metadata_of(error)["errorId"]) == 32


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.ABORTED, grpc.StatusCode.ABORTED),
        (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL),
    ],
)
async def test_a_refusal_of_a_peer_is_translated(
    code: grpc.StatusCode,
    expected: grpc.StatusCode,
    echo: Echo,
    behaviour: Behaviour,
    running: Running,
) -> None:
    async def act(_: Any) -> None:
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "peer's text")

    behaviour.act = act
    error = await refused(
        running.stub.Echo(echo.pb.EchoRequest(name=NAME), metadata=running.metadata)
    )

    assert error.code() is expected
    assert "peer's text" not in (error.details() or "")


@pytest.mark.parametrize("authorization", [None, "", "Bearer ", "Bearer wrong", "Basic a2V5"])
async def test_a_stranger_is_not_let_in(
    authorization: str | None, echo: Echo, running: Running, behaviour: Behaviour
) -> None:
    metadata = [] if authorization is None else [("authorization", authorization)]
    error = await refused(running.stub.Echo(echo.pb.EchoRequest(name=NAME), metadata=metadata))

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert errors.reason_of(error) == "CALLER_UNKNOWN"
    assert behaviour.seen == []


@pytest.mark.parametrize(
    ("method", "key", "name", "reason"),
    [
        ("Echo", WORKSPACE_KEY, NAME, ""),
        ("Echo", WORKSPACE_KEY, "workspaces/acme", ""),
        ("Echo", READER_KEY, NAME, ""),
        ("Echo", READER_KEY, "workspaces/other/things/one", ""),
        ("Echo", WORKSPACE_KEY, "workspaces/other/things/one", "WORKSPACE_FORBIDDEN"),
        ("Echo", WORKSPACE_KEY, "workspaces/acme2/things/one", "WORKSPACE_FORBIDDEN"),
        ("Echo", WORKSPACE_KEY, "", "FIELD_INVALID"),
        ("Echo", ADMIN_KEY, "things/one", "FIELD_INVALID"),
        ("Echo", WORKSPACE_KEY, "workspaces/*/things/one", "FIELD_INVALID"),
        ("Collect", READER_KEY, NAME, "SCOPE_MISSING"),
        ("Collect", WORKSPACE_KEY, NAME, ""),
        ("Collect", WORKSPACE_KEY, "workspaces/other/things/one", "WORKSPACE_FORBIDDEN"),
        ("Survey", WORKSPACE_KEY, NAME, "WORKSPACE_FORBIDDEN"),
        ("Survey", READER_KEY, NAME, ""),
        ("Survey", ADMIN_KEY, NAME, ""),
    ],
)
async def test_a_key_opens_what_it_is_for(
    method: str, key: str, name: str, reason: str, echo: Echo, running: Running
) -> None:
    request: Any = echo.pb.EchoRequest(name=name, word="hi")
    if method == "Survey":
        request = echo.pb.SurveyRequest()

    async def requests() -> Any:
        yield echo.pb.EchoRequest(name=NAME)
        yield request

    try:
        await getattr(running.stub, method)(
            requests() if method == "Collect" else request, metadata=bearer(key)
        )
        found = ""
    except grpc.aio.AioRpcError as error:
        found = errors.reason_of(error)

    assert found == reason


async def test_the_caller_is_known_inside_the_call(
    echo: Echo, behaviour: Behaviour, running: Running
) -> None:
    seen: list[Caller | None] = []

    async def act(_: Any) -> None:
        seen.append(current_caller())

    behaviour.act = act
    await running.stub.Echo(echo.pb.EchoRequest(name=NAME), metadata=running.metadata)

    assert seen[0] is not None
    assert seen[0].name == "acme"
    assert current_caller() is None


async def test_a_method_without_a_rule_does_not_start(
    echo: Echo, server_settings: ServerSettings
) -> None:
    class Open:
        pass

    service = Service(lambda _: None, "echo.v1.OpenService")

    with pytest.raises(NoAccessRule, match=r"echo\.v1\.OpenService/Open"):
        async with serving(server_settings, [service]):
            pass


async def test_a_broken_rule_names_the_field(
    echo: Echo, running: Running, behaviour: Behaviour
) -> None:
    request = echo.pb.EchoRequest(
        name=NAME,
        word="x" * 21,
        parts=[echo.pb.Part(count=1), echo.pb.Part(count=-1)],
        by_key={"k": echo.pb.Part(count=-2)},
    )
    error = await refused(running.stub.Echo(request, metadata=running.metadata))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert errors.reason_of(error) == "FIELD_INVALID"
    assert {(one.field, one.reason) for one in errors.violations_of(error)} == {
        ("word", "string.max_len"),
        ("parts[1].count", "int32.gte"),
        ('by_key["k"].count', "int32.gte"),
    }
    assert behaviour.seen == []


async def test_a_method_may_validate_for_itself(
    echo: Echo, behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    hot = frozenset({"echo.v1.EchoService/Echo"})
    async with (
        serving(server_settings, [behaviour.service()], self_validating=hot) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = echo.rpc.EchoServiceStub(channel)
        request = echo.pb.EchoRequest(name=NAME, word="x" * 21)
        assert (await stub.Echo(request, metadata=bearer(ADMIN_KEY))).word == "x" * 21


@pytest.mark.parametrize("method", ["Echo", "Chat"])
async def test_bytes_that_are_no_message_end_in_a_clean_status(
    method: str, running: Running
) -> None:
    path = f"/echo.v1.EchoService/{method}"
    channel: Any = running.channel
    if method == "Echo":
        call = channel.unary_unary(path)(b"\xff\xff\xff", metadata=running.metadata)
        error = await refused(call)
    else:
        call = channel.stream_stream(path)(iter([b"\xff"]), metadata=running.metadata)
        error = await refused(anext_of_all(call))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert errors.reason_of(error) == "FIELD_INVALID"
    assert error.details() == "the request cannot be decoded"


async def test_a_message_over_the_limit_ends_in_a_clean_status(
    echo: Echo, running: Running
) -> None:
    request = echo.pb.EchoRequest(name=NAME, word="x" * (1 << 17))
    error = await refused(running.stub.Echo(request, metadata=running.metadata))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # Asked again it would be as large: nothing to wait for.
    assert isinstance(errors.from_rpc_error(error, dependency="echo"), errors.Internal)
    request = echo.pb.EchoRequest(name=NAME, word="still here")
    assert (await running.stub.Echo(request, metadata=running.metadata)).word == "still here"


async def test_an_unknown_method_ends_in_a_clean_status(running: Running) -> None:
    channel: Any = running.channel
    call = channel.unary_unary("/echo.v1.EchoService/Nothing")
    error = await refused(call(b"", metadata=running.metadata))

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_cannot_finish_is_refused(
    echo: Echo, running: Running, behaviour: Behaviour
) -> None:
    error = await refused(
        running.stub.Echo(echo.pb.EchoRequest(name=NAME), metadata=running.metadata, timeout=0.09)
    )

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert behaviour.seen == []


async def test_a_call_of_our_own_gets_what_is_left(
    echo: Echo, behaviour: Behaviour, running: Running
) -> None:
    left: list[float | None] = []

    async def act(_: Any) -> None:
        if left:
            left.append(deadlines.remaining())
            return
        left.append(deadlines.remaining())
        async with client.connect(running.address, key=ADMIN_KEY, service="echo") as channel:
            await echo.rpc.EchoServiceStub(channel).Echo(echo.pb.EchoRequest(name=NAME))

    behaviour.act = act
    await running.stub.Echo(echo.pb.EchoRequest(name=NAME), metadata=running.metadata, timeout=1.5)

    assert left[0] is not None
    assert left[1] is not None
    assert left[1] < left[0] <= 1.5


async def test_the_trace_goes_on_to_calls_of_our_own(
    echo: Echo, behaviour: Behaviour, running: Running
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[str] = []

    async def act(_: Any) -> None:
        seen.append(current_traceparent())
        if len(seen) == 1:
            async with client.connect(running.address, key=ADMIN_KEY, service="echo") as channel:
                await echo.rpc.EchoServiceStub(channel).Echo(echo.pb.EchoRequest(name=NAME))

    behaviour.act = act
    await running.stub.Echo(
        echo.pb.EchoRequest(name=NAME), metadata=[*running.metadata, ("traceparent", traceparent)]
    )

    assert seen == [traceparent, traceparent]


async def test_a_malformed_trace_is_no_error(echo: Echo, running: Running) -> None:
    metadata = [*running.metadata, ("traceparent", "00-zz-1-1")]
    request = echo.pb.EchoRequest(name=NAME, word="hi")

    assert (await running.stub.Echo(request, metadata=metadata)).word == "hi"


async def test_only_a_service_that_is_away_is_asked_again(
    echo: Echo, behaviour: Behaviour, running: Running, tmp_path: Any, monkeypatch: Any
) -> None:
    folder = tmp_path / "beckon_echo_config"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "v1").mkdir()
    (folder / "v1" / "__init__.py").touch()
    (folder / "v1" / "service_config.json").write_text(
        '{"methodConfig": [{"name": [{"service": "echo.v1.EchoService"}], "timeout": "3s",'
        ' "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.02s",'
        ' "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}'
    )
    monkeypatch.syspath_prepend(tmp_path)
    counts: list[int] = []
    async with client.connect(
        running.address, key=ADMIN_KEY, service="beckon_echo_config.v1"
    ) as channel:
        stub = echo.rpc.EchoServiceStub(channel)
        for error in (errors.unavailable("redis"), errors.invalid_field("word", "no")):
            behaviour.seen.clear()

            async def act(_: Any, error: errors.MeshError = error) -> None:
                raise error

            behaviour.act = act
            await refused(stub.Echo(echo.pb.EchoRequest(name=NAME)))
            counts.append(len(behaviour.seen))

    assert counts == [3, 1]


async def test_a_refusal_on_entry_is_seen_by_those_already_entered() -> None:
    seen: list[str] = []

    def noting(name: str) -> Middleware:
        @asynccontextmanager
        async def middleware(_: Call) -> AsyncIterator[None]:
            seen.append(f"enter {name}")
            try:
                yield
            except errors.NotFound:
                seen.append(f"{name} saw it")
                raise

        return middleware

    @asynccontextmanager
    async def refusing(_: Call) -> AsyncIterator[None]:
        if seen:
            raise errors.NotFound(ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND, "no")
        yield

    call: Any = Call("a/B", context=None)  # type: ignore[arg-type]
    with pytest.raises(errors.NotFound):
        async with around([noting("outer"), noting("inner"), refusing, noting("last")], call):
            pass

    assert seen == ["enter outer", "enter inner", "inner saw it", "outer saw it"]


def test_only_one_file_aborts() -> None:
    """An abort that is not awaited tells the caller OK; so nobody else may."""
    root = Path(__file__).parents[2]
    aborting = {
        str(path.relative_to(root))
        for folder in ("mesh", "services")
        for path in (root / folder).rglob("*.py")
        if re.search(
            r"(?<!transport)\.abort(_with_status)?\(|\.set_code\(|\.set_details\(", path.read_text()
        )
    }

    assert aborting == {"mesh/interceptors/errors.py"}


async def test_a_caller_who_hangs_up_is_counted_as_cancelled(
    echo: Echo, behaviour: Behaviour, running: Running
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def act(_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    behaviour.act = act
    before = counted("CANCELLED")
    call = running.stub.Echo(echo.pb.EchoRequest(name=NAME), metadata=running.metadata)
    waiting = asyncio.gather(call, return_exceptions=True)
    await begun.wait()
    call.cancel()
    await ended.wait()
    await waiting
    await asyncio.sleep(0)

    assert counted("CANCELLED") == before + 1


def counted(code: str) -> float:
    labels = {"method": "echo.v1.EchoService/Echo", "code": code}
    return REGISTRY.get_sample_value("beckon_rpcs_total", labels) or 0.0
