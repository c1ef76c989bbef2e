"""Calls to other services: a deadline, the key, the trace and safe retries on each."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Self

import grpc
import grpc.aio

from mesh import deadlines
from mesh.interceptors.trace import current_traceparent

# For a method that no service config names.
_TIMEOUT_SECONDS = 10.0
# Our own services answer: their pages and batches may be large.
_RESPONSE_BYTES_MAX = 256 << 20


@asynccontextmanager
async def connect(target: str, *, key: str, service: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to `service` (`throttle`, or `beckon.throttle.v1`) at `target`.

    Every call is made with the key, the trace of the running call, and the least
    of: the timeout given, the service config's, what our own caller has left.
    Only UNAVAILABLE is tried again, by the service config.
    """
    package = service if "." in service else f"beckon.{service}.v1"
    config = _service_config(package)
    options: list[tuple[str, int | str]] = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", _RESPONSE_BYTES_MAX),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A server that restarts is back within the second; the default waits minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Channels of one process to one target are not to share a connection
        # with those of another test or worker.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield _Channel(channel, key, _timeouts(config))


def _service_config(package: str) -> dict[str, Any]:
    try:
        text = resources.files(package).joinpath("service_config.json").read_text("utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        config: dict[str, Any] = {}
    else:
        config = json.loads(text)
    # Every address of a headless Service takes its share.
    config.setdefault("loadBalancingConfig", [{"round_robin": {}}])
    return config


def _timeouts(config: Mapping[str, Any]) -> dict[str, float]:
    timeouts: dict[str, float] = {}
    for entry in config.get("methodConfig", ()):
        timeout = entry.get("timeout")
        if timeout is None:
            continue
        for name in entry.get("name", ()):
            service, method = name.get("service", ""), name.get("method", "")
            path = f"/{service}/{method}" if method else f"/{service}"
            timeouts[path if service else ""] = float(timeout.removesuffix("s"))
    return timeouts


class _Channel(grpc.aio.Channel):
    """A channel whose calls carry key, trace and deadline.

    Not an interceptor: those cost a task and a wrapper a call.
    """

    def __init__(self, channel: grpc.aio.Channel, key: str, timeouts: Mapping[str, float]) -> None:
        self._channel = channel
        self._key = key
        self._timeouts = timeouts

    def _timeout_of(self, path: str) -> float:
        service = path.rpartition("/")[0]
        for known in (path, service, ""):
            if known in self._timeouts:
                return self._timeouts[known]
        return _TIMEOUT_SECONDS

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a method."""
        inner = self._channel.unary_unary(method, *args, **kwargs)
        return _Callable(inner, self._key, self._timeout_of(method))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a method; a stream ends only as its caller says."""
        return _Callable(self._channel.unary_stream(method, *args, **kwargs), self._key, None)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a method; a stream ends only as its caller says."""
        return _Callable(self._channel.stream_unary(method, *args, **kwargs), self._key, None)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a method; a stream ends only as its caller says."""
        return _Callable(self._channel.stream_stream(method, *args, **kwargs), self._key, None)

    async def close(self, grace: float | None = None) -> None:
        """Close the connection."""
        await self._channel.close(grace)

    def get_state(
        self,
        try_to_connect: bool = False,  # noqa: FBT001, FBT002 — gRPC's signature
    ) -> grpc.ChannelConnectivity:
        """Return the state of the connection."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return when the state is another."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return when connected."""
        await self._channel.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Callable:
    """One method of a peer."""

    def __init__(self, inner: Any, key: str, timeout: float | None) -> None:
        self._inner = inner
        self._authorization = ("authorization", f"Bearer {key}")
        self._timeout = timeout

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str | bytes]] | None = None,
        **kwargs: Any,
    ) -> Any:
        sent: list[tuple[str, str | bytes]] = [self._authorization, *(metadata or ())]
        traceparent = current_traceparent()
        if traceparent and not any(name == "traceparent" for name, _ in sent):
            sent.append(("traceparent", traceparent))
        return self._inner(request, timeout=self._least(timeout), metadata=tuple(sent), **kwargs)

    def _least(self, given: float | None) -> float | None:
        left = deadlines.remaining()
        if left is not None and left <= 0:
            raise deadlines.too_short(left)
        bounds = [bound for bound in (given, self._timeout, left) if bound is not None]
        return min(bounds, default=None)
