"""Makes sure that every provider says the same of the same, so that one rule can follow from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import uvloop

from mesh.clock import SystemClock
from services.delivery.model import Outcome
from services.delivery.providers import Email, Provider, SmtpProvider, Webhook, WebhookProvider
from services.delivery.rules import parse_allowed, parse_target
from stack.ports import free_port

# What it names instead is for whole folders, and the event log's suite shares this one.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
# Long enough for a busy machine; what falls silent costs a test as much.
TIMEOUT = timedelta(milliseconds=1500)


@dataclass
class Conversation:
    """The other side of one connection, in bytes: it can do what no library would."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def hear(self) -> str:
        line = await self.reader.readline()
        if not line:
            raise ConnectionError
        return line.decode()

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class Other:
    """A server that plays a script for each message, and counts."""

    kind: str
    script: str = "accept"
    address: tuple[str, int] = ("127.0.0.1", 0)
    connections: int = 0
    messages: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        talk = Conversation(reader, writer)
        try:
            await (self._mail(talk) if self.kind == "smtp" else self._http(talk))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _http(  # noqa: C901, PLR0912 — a list of cases
        self, talk: Conversation
    ) -> None:
        while True:
            head = await talk.reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            body = await talk.reader.readexactly(length)
            match self.script:
                case "reset":
                    talk.reset()
                    return
                case "silence":
                    await asyncio.Event().wait()
                case "slow":
                    await asyncio.sleep(0.2)
                case _:
                    pass
            self.messages.append(f"{head.decode()}{body.decode()}")
            match self.script:
                case "reset_after":
                    talk.reset()
                    return
                case "refuse":
                    await talk.say("HTTP/1.1 422 No", "Content-Length: 0", "")
                case "later":
                    await talk.say("HTTP/1.1 429 Later", "Retry-After: 7", "Content-Length: 0", "")
                case "broken":
                    await talk.say("HTTP/1.1 503 Broken", "Content-Length: 2", "", "n")
                case "redirect":
                    await talk.say(
                        "HTTP/1.1 307 There",
                        "Location: http://127.0.0.1:1/",
                        "Content-Length: 0",
                        "",
                    )
                case "endless":
                    await talk.say("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "")
                    while True:
                        await talk.say("2000", "x" * 0x2000)
                case "close":
                    await talk.say("HTTP/1.1 200 OK", "Connection: close", "Content-Length: 0", "")
                    return
                case "gibberish":
                    await talk.say("250 OK")
                case _:
                    await talk.say("HTTP/1.1 200 OK", "Content-Length: 4", "", "ok")

    async def _mail(self, talk: Conversation) -> None:
        await talk.say("220 other ready")
        while True:
            line = await talk.hear()
            match line.split(maxsplit=1)[0].upper():
                case "EHLO":
                    await talk.say(
                        "250-other", "250-PIPELINING", "250-8BITMIME", "250 SIZE 1000000"
                    )
                case "DATA":
                    await talk.say("354 go on")
                    content = await talk.reader.readuntil(b"\r\n.\r\n")
                    if await self._mailed(talk, content.decode()):
                        return
                case "RCPT" if self.script == "refuse":
                    await talk.say("550 no such user here")
                case "RCPT" if self.script == "later":
                    await talk.say("451 later")
                case "QUIT":
                    await talk.say("221 bye")
                    return
                case _:
                    await talk.say("250 ok")

    async def _mailed(self, talk: Conversation, content: str) -> bool:
        match self.script:
            case "reset":
                talk.reset()
                return True
            case "silence":
                await asyncio.Event().wait()
            case "slow":
                await asyncio.sleep(0.2)
            case _:
                pass
        self.messages.append(content)
        match self.script:
            case "reset_after":
                talk.reset()
                return True
            case "broken":
                await talk.say("452 full")
            case "gibberish":
                await talk.say("HTTP/1.1 200 OK")
            case "close":
                await talk.say("250 ok")
                return True
            case _:
                await talk.say("250 ok")
        return False


@asynccontextmanager
async def other_side(kind: str) -> AsyncIterator[Other]:
    other = Other(kind)
    server = await asyncio.start_server(other.serve, "127.0.0.1", 0)
    other.address = server.sockets[0].getsockname()[:2]
    try:
        yield other
    finally:
        server.close()


def provider_to(kind: str, address: tuple[str, int]) -> AbstractAsyncContextManager[Provider[Any]]:
    if kind == "smtp":
        return SmtpProvider(
            host=address[0], port=address[1], clock=SystemClock(), timeout=TIMEOUT, starttls=False
        )
    return WebhookProvider(
        allowed=[parse_allowed(address[0])], clock=SystemClock(), timeout=TIMEOUT
    )


def a_message(kind: str, address: tuple[str, int], *, recipient: str = "ana@example.com") -> Any:
    if kind == "smtp":
        return Email(str(uuid4()), "Shop <shop@example.com>", recipient, "Hi", "Text", "")
    target = parse_target(f"http://{address[0]}:{address[1]}/hook?a=b")
    return Webhook(str(uuid4()), target, b'{"a":1}', "")


@pytest.fixture(
    params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"]
)
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """On both loops: their transports differ in what they raise, and when."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture(params=["smtp", "webhook"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def other(kind: str) -> AsyncIterator[Other]:
    async with other_side(kind) as found:
        yield found


@pytest.fixture
async def provider(kind: str, other: Other) -> AsyncIterator[Provider[Any]]:
    async with provider_to(kind, other.address) as found:
        yield found


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("accept", Outcome.ACCEPTED),
        ("slow", Outcome.ACCEPTED),
        ("close", Outcome.ACCEPTED),
        ("refuse", Outcome.REFUSED),
        ("later", Outcome.TRY_LATER),
        ("broken", Outcome.TRY_LATER),
        ("silence", Outcome.NO_ANSWER),
        ("reset", Outcome.NO_ANSWER),
        ("reset_after", Outcome.NO_ANSWER),
        ("gibberish", Outcome.NO_ANSWER),
    ],
)
async def test_what_the_other_side_does_is_what_is_said(
    kind: str, other: Other, provider: Provider[Any], script: str, outcome: Outcome
) -> None:
    other.script = script

    answer = await provider.send(a_message(kind, other.address))

    assert answer.outcome is outcome, answer


async def test_a_refused_connection_means_that_nothing_was_sent(kind: str) -> None:
    address = ("127.0.0.1", free_port())
    async with provider_to(kind, address) as provider:
        answer = await provider.send(a_message(kind, address))

    assert answer.outcome is Outcome.TRY_LATER


async def test_messages_share_a_connection(
    kind: str, other: Other, provider: Provider[Any]
) -> None:
    for _ in range(5):
        await provider.send(a_message(kind, other.address))

    assert other.connections == 1
    assert len(other.messages) == 5


@pytest.mark.parametrize("script", ["refuse", "later", "broken"])
async def test_a_refusal_spoils_nothing_for_the_next(
    kind: str, other: Other, provider: Provider[Any], script: str
) -> None:
    other.script = script
    await provider.send(a_message(kind, other.address))
    other.script = "accept"

    answer = await provider.send(a_message(kind, other.address))

    assert answer.outcome is Outcome.ACCEPTED


async def test_a_connection_closed_while_it_lay_idle_costs_no_try(
    kind: str, other: Other, provider: Provider[Any]
) -> None:
    other.script = "close"
    await provider.send(a_message(kind, other.address))
    other.script = "accept"

    answer = await provider.send(a_message(kind, other.address))

    assert answer.outcome is Outcome.ACCEPTED


async def test_many_at_once_are_all_answered(
    kind: str, other: Other, provider: Provider[Any]
) -> None:
    other.script = "slow"

    answers = await asyncio.gather(
        *(provider.send(a_message(kind, other.address)) for _ in range(20))
    )

    assert [answer.outcome for answer in answers] == [Outcome.ACCEPTED] * 20


async def test_a_send_that_is_cancelled_leaves_the_provider_usable(
    kind: str, other: Other, provider: Provider[Any]
) -> None:
    other.script = "silence"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await provider.send(a_message(kind, other.address))
    other.script = "accept"

    answer = await provider.send(a_message(kind, other.address))

    assert answer.outcome is Outcome.ACCEPTED


class TestWebhook:
    """What only webhooks can do wrong."""

    @pytest.fixture
    def kind(self) -> str:
        return "webhook"

    async def test_retry_after_is_passed_on(self, other: Other, provider: Provider[Any]) -> None:
        other.script = "later"

        answer = await provider.send(a_message("webhook", other.address))

        assert answer.retry_after == timedelta(seconds=7)

    async def test_a_redirect_is_not_followed(self, other: Other, provider: Provider[Any]) -> None:
        other.script = "redirect"

        answer = await provider.send(a_message("webhook", other.address))

        assert (answer.outcome, answer.detail) == (Outcome.REFUSED, "307")

    async def test_an_endless_answer_is_cut_off(
        self, other: Other, provider: Provider[Any]
    ) -> None:
        other.script = "endless"

        answer = await provider.send(a_message("webhook", other.address))

        assert answer.outcome is Outcome.ACCEPTED

    async def test_key_trace_and_body_arrive(self, other: Other, provider: Provider[Any]) -> None:
        message = a_message("webhook", other.address)._replace(traceparent="00-aa-bb-01")

        await provider.send(message)

        [request] = other.messages
        assert request.startswith("POST /hook?a=b HTTP/1.1\r\n")
        assert f"idempotency-key: {message.delivery_id}" in request.lower()
        assert "traceparent: 00-aa-bb-01" in request
        assert "content-type: application/json" in request.lower()
        assert request.endswith('{"a":1}')

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433"])
    async def test_a_wildcard_vouches_for_no_private_address(self, other: Other, host: str) -> None:
        target = parse_target(f"http://{host}:{other.address[1]}/")
        async with WebhookProvider(
            allowed=[parse_allowed("*")], clock=SystemClock(), timeout=TIMEOUT
        ) as provider:
            answer = await provider.send(Webhook(str(uuid4()), target, b"{}", ""))

        assert (answer.outcome, answer.detail) == (Outcome.REFUSED, "HOST_FORBIDDEN")
        assert other.connections == 0

    async def test_a_host_that_is_not_listed_is_never_asked_for(self, other: Other) -> None:
        target = parse_target(f"http://127.0.0.1:{other.address[1]}/")
        async with WebhookProvider(
            allowed=[parse_allowed("127.0.0.1:1")], clock=SystemClock(), timeout=TIMEOUT
        ) as provider:
            answer = await provider.send(Webhook(str(uuid4()), target, b"{}", ""))

        assert answer.outcome is Outcome.REFUSED
        assert other.connections == 0

    async def test_a_name_that_does_not_resolve_is_tried_later(self) -> None:
        target = parse_target("http://nowhere.invalid/")
        async with WebhookProvider(
            allowed=[parse_allowed("*.invalid")], clock=SystemClock(), timeout=TIMEOUT
        ) as provider:
            answer = await provider.send(Webhook(str(uuid4()), target, b"{}", ""))

        assert answer.outcome is Outcome.TRY_LATER


class TestSmtp:
    """What only mail can do wrong."""

    @pytest.fixture
    def kind(self) -> str:
        return "smtp"

    @pytest.mark.parametrize(
        "recipient",
        ["", "ana", "ana@example.com\r\nRCPT TO:<eve@example.com>", "a b@example.com", "<a@b.c>"],
    )
    async def test_what_is_no_address_is_refused_before_anything_is_said(
        self, other: Other, provider: Provider[Any], recipient: str
    ) -> None:
        answer = await provider.send(a_message("smtp", other.address, recipient=recipient))

        assert (answer.outcome, answer.detail) == (Outcome.REFUSED, "address_invalid")
        assert other.connections == 0

    async def test_the_code_is_told_and_the_text_is_not(
        self, other: Other, provider: Provider[Any]
    ) -> None:
        other.script = "refuse"

        answer = await provider.send(a_message("smtp", other.address))

        assert answer.detail == "550"

    async def test_an_address_that_the_relay_cannot_spell_is_refused(
        self, other: Other, provider: Provider[Any]
    ) -> None:
        answer = await provider.send(a_message("smtp", other.address, recipient="ána@example.com"))

        assert (answer.outcome, answer.detail) == (Outcome.REFUSED, "smtputf8_missing")

    async def test_a_domain_in_another_script_is_spelled_for_the_relay(
        self, other: Other, provider: Provider[Any]
    ) -> None:
        answer = await provider.send(
            a_message("smtp", other.address, recipient="ana@bücher.example")
        )

        assert answer.outcome is Outcome.ACCEPTED
        assert "To: <ana@xn--bcher-kva.example>" in other.messages[0]
