"""The one shape of everything that happens around a call.

The only file that knows gRPC's four kinds of handlers.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.protobuf.message import DecodeError, Message

from mesh.errors import FieldViolation, InvalidArgument

if TYPE_CHECKING:
    # Generic for the type checker only.
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    Context = grpc.aio.ServicerContext

_CODES: dict[object, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

Check: TypeAlias = Callable[[Message], None]


@dataclass(slots=True)
class Call:
    """One call, as the middlewares see it."""

    method: str
    """Full name, `beckon.ingest.v1.IngestService/IngestEvents`."""
    context: Context
    checks: list[Check] = field(default_factory=list)
    """What every request message must pass before the handler sees it; added to on entry."""

    @property
    def service(self) -> str:
        """Full name of the service, `beckon.ingest.v1.IngestService`."""
        return self.method.partition("/")[0]

    def metadata(self, key: str) -> str:
        """Return the last value the caller sent under `key`, '' when none."""
        found = ""
        for name, value in self.context.invocation_metadata() or ():
            if name == key and isinstance(value, str):
                found = value
        return found


Middleware: TypeAlias = Callable[[Call], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def around(middlewares: Sequence[Middleware], call: Call) -> AsyncIterator[None]:
    """Enter every middleware in order; leave them in reverse.

    When one refuses on entry, those already entered still see its exception.
    """
    async with AsyncExitStack() as stack:
        for middleware in middlewares:
            await stack.enter_async_context(middleware(call))
        yield


def code_of(call: Call) -> grpc.StatusCode:
    """Return the status the call has so far: gRPC knows a number, a member, or nothing for OK."""
    code: object = call.context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return _CODES.get(code or 0, grpc.StatusCode.UNKNOWN)


class Undecodable:
    """Stands for bytes that are not the message the method takes."""


class Chain(grpc.aio.ServerInterceptor):
    """Runs the middlewares around every call."""

    def __init__(self, middlewares: Sequence[Middleware]) -> None:
        """Take the middlewares, outermost first."""
        self.middlewares = tuple(middlewares)
        # The methods of a server are few; their wrapped handlers are kept.
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the handler with the chain around it; None for an unknown method."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                # gRPC answers UNIMPLEMENTED. Not kept: strangers choose the names.
                return None
            wrapped = self._wrap(method.removeprefix("/"), handler)
            self._wrapped[method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        decode = _lenient(handler.request_deserializer)
        encode = handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary_unary(method, handler.unary_unary), decode, encode
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._unary_stream(method, handler.unary_stream), decode, encode
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._stream_unary(method, handler.stream_unary), decode, encode
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream_stream(method, handler.stream_stream), decode, encode
        )

    def _unary_unary(self, method: str, inner: Any) -> Any:
        async def handle(request: Any, context: Context) -> Any:
            call = Call(method, context)
            async with around(self.middlewares, call):
                return await inner(_checked(call, request), context)

        return handle

    def _unary_stream(self, method: str, inner: Any) -> Any:
        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call = Call(method, context)
            async with around(self.middlewares, call):
                async for response in _responses(inner(_checked(call, request), context)):
                    yield response

        return handle

    def _stream_unary(self, method: str, inner: Any) -> Any:
        async def handle(requests: Any, context: Context) -> Any:
            call = Call(method, context)
            async with around(self.middlewares, call):
                return await inner(_all_checked(call, requests), context)

        return handle

    def _stream_stream(self, method: str, inner: Any) -> Any:
        async def handle(requests: Any, context: Context) -> AsyncIterator[Any]:
            call = Call(method, context)
            async with around(self.middlewares, call):
                async for response in _responses(inner(_all_checked(call, requests), context)):
                    yield response

        return handle


def _lenient(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return a decoder that leaves bad bytes to the chain.

    gRPC itself would answer UNKNOWN with the decoder's text, before any
    middleware has run.
    """
    if decode is None:
        return None

    def decode_or_mark(content: bytes) -> Any:
        try:
            return decode(content)
        except DecodeError:
            return Undecodable()

    return decode_or_mark


def _checked(call: Call, request: Any) -> Any:
    if isinstance(request, Undecodable):
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_FIELD_INVALID,
            "the request cannot be decoded",
            violations=[FieldViolation("", "the request cannot be decoded", "undecodable")],
        )
    for check in call.checks:
        check(request)
    return request


async def _all_checked(call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(call, request)


async def _responses(produced: Any) -> AsyncIterator[Any]:
    # A handler of a response stream is a generator, or a coroutine that calls
    # context.write, as gRPC's own health service does.
    if hasattr(produced, "__aiter__"):
        async with aclosing(produced) as responses:
            async for response in responses:
                yield response
    else:
        await produced
