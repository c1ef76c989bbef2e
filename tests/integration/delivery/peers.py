"""Honest small peers of delivery: they answer as the real ones do, and fail when planned to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, TypeAlias

import grpc
import grpc.aio
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from beckon.ingest.v1 import event_pb2
from beckon.ingest.v1 import ingest_service_pb2 as ingest_pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as ingest_rpc
from beckon.profile.v1 import observation_service_pb2 as profile_pb
from beckon.profile.v1 import observation_service_pb2_grpc as profile_rpc
from beckon.throttle.v1 import throttle_service_pb2 as throttle_pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as throttle_rpc

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass
class Plan:
    """What goes wrong next: each entry befalls one call, in order."""

    faults: list[str] = field(default_factory=list)

    async def strike(self, context: _Context, *, after: bool) -> None:
        """Refuse, or lose the reply after the work was done."""
        if self.faults and (self.faults[0] == "lost_reply") is after:
            self.faults.pop(0)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "planned")


class Profiles(profile_rpc.ObservationServiceServicer):
    """Knows addresses."""

    def __init__(self) -> None:
        self.emails: dict[str, str] = {}
        self.calls = 0
        self.plan = Plan()

    async def ObserveEvents(self, request: object, context: object) -> Any:
        raise NotImplementedError

    async def BatchFindEvents(self, request: object, context: object) -> Any:
        raise NotImplementedError

    async def BatchGetStandings(self, request: object, context: object) -> Any:
        raise NotImplementedError

    async def BatchGetAddresses(
        self, request: profile_pb.BatchGetAddressesRequest, context: _Context
    ) -> profile_pb.BatchGetAddressesResponse:
        await self.plan.strike(context, after=False)
        self.calls += 1
        return profile_pb.BatchGetAddressesResponse(
            addresses=[
                profile_pb.Addresses(email=self.emails.get(name, "")) for name in request.profiles
            ]
        )


class Throttle(throttle_rpc.ThrottleServiceServicer):
    """Remembers settlements."""

    def __init__(self) -> None:
        self.settlements: dict[bytes, int] = {}
        self.calls = 0
        self.plan = Plan()

    async def ReserveSends(self, request: object, context: object) -> Any:
        raise NotImplementedError

    async def SettleSends(
        self, request: throttle_pb.SettleSendsRequest, context: _Context
    ) -> throttle_pb.SettleSendsResponse:
        await self.plan.strike(context, after=False)
        self.calls += 1
        assert len(request.settlements) <= 1000
        for one in request.settlements:
            self.settlements.setdefault(one.send_id, one.outcome)
        await self.plan.strike(context, after=True)
        return throttle_pb.SettleSendsResponse()

    async def ExplainSend(self, request: object, context: object) -> Any:
        raise NotImplementedError


class Ingest(ingest_rpc.IngestServiceServicer):
    """Remembers events; the same id with other content is refused, as at the real door."""

    def __init__(self) -> None:
        self.events: dict[str, event_pb2.Event] = {}
        self.clashes: list[str] = []
        self.repeats = 0
        self.plan = Plan()

    def StreamEvents(self, request_iterator: object, context: object) -> Any:
        raise NotImplementedError

    async def IngestEvents(
        self, request: ingest_pb.IngestEventsRequest, context: _Context
    ) -> ingest_pb.IngestEventsResponse:
        await self.plan.strike(context, after=False)
        assert len(request.events) <= 1000
        response = ingest_pb.IngestEventsResponse(accepted_count=len(request.events))
        for index, event in enumerate(request.events):
            assert event.profile.startswith(request.parent + "/")
            known = self.events.setdefault(event.event_id, event)
            if known is not event:
                self.repeats += 1
            if known.SerializeToString(deterministic=True) != event.SerializeToString(
                deterministic=True
            ):
                self.clashes.append(event.event_id)
                response.failed_events[index].code = 6
        await self.plan.strike(context, after=True)
        return response

    def types(self) -> list[str]:
        return sorted(event.type for event in self.events.values())


@dataclass
class Peers:
    """All three on one address."""

    address: str
    profiles: Profiles
    throttle: Throttle
    ingest: Ingest


@asynccontextmanager
async def peers() -> AsyncIterator[Peers]:
    """Serve the peers on a free port."""
    server = grpc.aio.server()
    profiles, throttle, ingest = Profiles(), Throttle(), Ingest()
    profile_rpc.add_ObservationServiceServicer_to_server(profiles, server)
    throttle_rpc.add_ThrottleServiceServicer_to_server(throttle, server)
    ingest_rpc.add_IngestServiceServicer_to_server(ingest, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Peers(f"127.0.0.1:{port}", profiles, throttle, ingest)
    finally:
        await server.stop(0)


@dataclass
class Post:
    """A webhook that arrived."""

    key: str
    path: str
    headers: dict[str, str]
    body: bytes


class Hooks:
    """A webhook's host. `behave` answers; by default everything is fine."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.behave: Callable[[Post, web.BaseRequest], object] | None = None
        self.address = ""
        self.open = 0
        self.open_most = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.open += 1
        self.open_most = max(self.open, self.open_most)
        try:
            post = Post(
                request.headers.get("Idempotency-Key", ""),
                request.path,
                {name.lower(): value for name, value in request.headers.items()},
                await request.read(),
            )
            self.posts.append(post)
            reply = self.behave(post, request) if self.behave else None
            if asyncio.iscoroutine(reply):
                reply = await reply
            return reply if isinstance(reply, web.StreamResponse) else web.Response(text="ok")
        finally:
            self.open -= 1

    def contents(self) -> dict[str, set[bytes]]:
        """Return what arrived under each key."""
        found: dict[str, set[bytes]] = {}
        for post in self.posts:
            found.setdefault(post.key, set()).add(post.body)
        return found


@asynccontextmanager
async def hooks(*, tls: SSLContext | None = None) -> AsyncIterator[Hooks]:
    """Serve a webhook's host on a free port."""
    sink = Hooks()
    loop = asyncio.get_running_loop()
    handler = web.Server(sink.answer)
    server = await loop.create_server(handler, "127.0.0.1", 0, ssl=tls)
    sink.address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    try:
        yield sink
    finally:
        server.close()
        await handler.shutdown(0.1)


def answering_after(seconds: float) -> Callable[..., object]:
    """Return a behaviour that takes its time and then is fine."""
    return lambda *_: asyncio.sleep(seconds)


def knowing(
    user: str, password: str, *, heard: list[bytes] | None = None
) -> Callable[..., AuthResult]:
    """Return what lets one user of a relay in; every password it hears is put into `heard`."""

    def authenticate(
        server: object, session: object, envelope: object, mechanism: str, data: Any
    ) -> AuthResult:
        if heard is not None:
            heard.append(data.password)
        known = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=known, handled=False)

    return authenticate


@dataclass
class Mail:
    """A mail that arrived."""

    sender: str
    recipients: list[str]
    content: bytes


class Inbox:
    """A mail relay. `behave_*` answer; by default everything is fine."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.behave_rcpt: Callable[[str], str] | None = None
        self.behave_data: Callable[[Mail, SMTP], object] | None = None
        self.address = ("", 0)
        self.sessions = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.behave_rcpt(address) if self.behave_rcpt else "250 OK"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = Mail(str(envelope.mail_from), [str(one) for one in envelope.rcpt_tos], content)
        answer = self.behave_data(mail, server) if self.behave_data else None
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer is None or str(answer).startswith("2"):
            self.mails.append(mail)
        return str(answer or "250 OK")


@asynccontextmanager
async def inbox(*, tls: SSLContext | None = None, **options: object) -> AsyncIterator[Inbox]:
    """Serve a mail relay on a free port; with `tls`, from the first byte."""
    sink = Inbox()
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        sink.sessions += 1
        return SMTP(
            sink,
            hostname="inbox.invalid",
            enable_SMTPUTF8=True,
            loop=loop,
            timeout=60,
            **options,  # type: ignore[arg-type]
        )

    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls)
    sink.address = server.sockets[0].getsockname()[:2]
    try:
        yield sink
    finally:
        server.close()
