"""Makes sure that every provider says the same of the same, so that one rule can follow from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any
from uuid import uuid4

import pytest
import trustme
import uvloop
from structlog.testing import capture_logs

from mesh.clock import SystemClock
from services.delivery.model import Answer, Outcome
from services.delivery.providers import Email, Provider, SmtpProvider, Webhook, WebhookProvider
from services.delivery.rules import parse_allowed, parse_target
from stack.ports import free_port
from tests.integration.delivery.peers import Inbox, inbox, knowing

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
    retry_after: str = "7"
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

    async def _http(  # noqa: C901, PLR0912, PLR0915 — a list of cases
        self, talk: Conversation
    ) -> None:
        for served in count():
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
                case "once" if served:
                    talk.reset()
                    return
                case "once_and_leave" if served:
                    return
                case "late_once_then_silence":
                    await (asyncio.sleep(1) if served else asyncio.Event().wait())
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
                    await talk.say(
                        "HTTP/1.1 429 Later",
                        f"Retry-After: {self.retry_after}",
                        "Content-Length: 0",
                        "",
                    )
                case "broken":
                    await talk.say("HTTP/1.1 503 Broken", "Content-Length: 2", "", "n")
                case "redirect":
                    await talk.say(
                        "HTTP/1.1 307 There",
                        "Location: http://127.0.0.1:1/",
                        "Content-Length: 0",
                        "",
                    )
                case "hints":
                    await talk.say("HTTP/1.1 103 Early Hints", "Link: </a>; rel=preload", "")
                    await talk.say("HTTP/1.1 200 OK", "Content-Length: 0", "")
                case "torn":
                    await talk.say("HTTP/1.1 200 OK", "Content-Length: 100", "", "half")
                    talk.reset()
                    return
                case "dripping":
                    await talk.say("HTTP/1.1 200 OK", "Content-Length: 100", "", "half")
                    await asyncio.Event().wait()
                case "boundless_head":
                    await talk.say("HTTP/1.1 200 OK")
                    while True:
                        await talk.say(f"X-{uuid4()}: {'x' * 1000}")
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
async def other_side(kind: str, *, tls: SSLContext | None = None) -> AsyncIterator[Other]:
    other = Other(kind)
    server = await asyncio.start_server(other.serve, "127.0.0.1", 0, ssl=tls)
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

    @pytest.mark.parametrize("zone", [UTC, None])
    async def test_a_date_to_come_back_at_is_passed_on_as_a_span(
        self, other: Other, provider: Provider[Any], zone: Any
    ) -> None:
        other.script = "later"
        until = SystemClock().now() + timedelta(minutes=2)
        other.retry_after = format_datetime(until.replace(tzinfo=zone), usegmt=zone is UTC)

        answer = await provider.send(a_message("webhook", other.address))

        assert answer.retry_after is not None
        assert timedelta(seconds=110) < answer.retry_after <= timedelta(minutes=2)

    @pytest.mark.parametrize(
        ("value", "wait"),
        [
            ("soon", None),
            ("-1", None),
            ("", None),
            ("99999999999999999999", timedelta(days=1)),
            ("Fri, 31 Dec 2100 23:59:59 GMT", timedelta(days=1)),
            (format_datetime(datetime(2000, 1, 1, tzinfo=UTC), usegmt=True), timedelta(0)),
        ],
    )
    async def test_nonsense_is_no_time_to_come_back_at_and_the_far_future_is_tomorrow(
        self, other: Other, provider: Provider[Any], value: str, wait: timedelta | None
    ) -> None:
        other.script, other.retry_after = "later", value

        answer = await provider.send(a_message("webhook", other.address))

        assert (answer.outcome, answer.retry_after) == (Outcome.TRY_LATER, wait)

    @pytest.mark.parametrize("script", ["once", "once_and_leave"])
    async def test_kept_connections_that_end_before_a_byte_of_the_answer_cost_no_try(
        self, other: Other, provider: Provider[Any], script: str
    ) -> None:
        other.script = "slow"
        await asyncio.gather(*(provider.send(a_message("webhook", other.address)) for _ in "abc"))
        other.script = script

        answer = await provider.send(a_message("webhook", other.address))

        assert answer.outcome is Outcome.ACCEPTED
        assert other.connections == 4
        assert len(other.messages) == 4

    async def test_a_new_connection_that_ends_is_not_tried_again(
        self, other: Other, provider: Provider[Any]
    ) -> None:
        other.script = "reset"

        await provider.send(a_message("webhook", other.address))

        assert other.connections == 1

    async def test_a_kept_connection_that_ends_late_buys_no_time(
        self, other: Other, provider: Provider[Any]
    ) -> None:
        await provider.send(a_message("webhook", other.address))
        other.script = "late_once_then_silence"
        begun = asyncio.get_running_loop().time()

        answer = await provider.send(a_message("webhook", other.address))

        assert answer.outcome is Outcome.NO_ANSWER
        # Another whole timeout after the second that passed would be more.
        assert asyncio.get_running_loop().time() - begun < 1 + TIMEOUT.total_seconds()

    @pytest.mark.parametrize("script", ["hints", "torn", "dripping"])
    async def test_the_status_says_all_whatever_comes_before_and_after_it(
        self, other: Other, provider: Provider[Any], script: str
    ) -> None:
        other.script = script

        answer = await provider.send(a_message("webhook", other.address))

        assert (answer.outcome, answer.detail) == (Outcome.ACCEPTED, "200")

    async def test_a_head_without_end_is_cut_off(
        self, other: Other, provider: Provider[Any]
    ) -> None:
        other.script = "boundless_head"

        answer = await provider.send(a_message("webhook", other.address))

        assert answer.outcome is Outcome.NO_ANSWER

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

    async def test_nothing_is_said_that_was_not_asked_for(
        self, other: Other, provider: Provider[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

        for _ in range(2):
            await provider.send(a_message("webhook", other.address))

        names = [
            {line.partition(":")[0].lower() for line in request.splitlines()[1:-2]}
            for request in other.messages
        ]
        assert (
            names
            == [{"host", "user-agent", "content-type", "content-length", "idempotency-key"}] * 2
        )

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
        ],
    )
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


class TestHttps:
    """Whose word a webhook's host needs."""

    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    async def posted(self, *, certified: trustme.CA, trusted: trustme.CA, name: str) -> Answer:
        ours, theirs = create_default_context(), SSLContext(PROTOCOL_TLS_SERVER)
        trusted.configure_trust(ours)
        certified.issue_cert(name).configure_cert(theirs)
        async with other_side("webhook", tls=theirs) as other:
            target = parse_target(f"https://localhost:{other.address[1]}/hook")
            async with WebhookProvider(
                allowed=[parse_allowed("localhost")], clock=SystemClock(), timeout=TIMEOUT, tls=ours
            ) as provider:
                answers = [
                    await provider.send(Webhook(str(uuid4()), target, b"{}", "")) for _ in range(2)
                ]
        assert answers[0] == answers[1]
        assert len(other.messages) == (2 if answers[0].outcome is Outcome.ACCEPTED else 0)
        return answers[0]

    async def test_a_host_that_a_trusted_authority_vouches_for_is_told(
        self, authority: trustme.CA
    ) -> None:
        answer = await self.posted(certified=authority, trusted=authority, name="localhost")

        assert answer.outcome is Outcome.ACCEPTED

    async def test_a_host_that_nobody_vouches_for_is_told_nothing(
        self, authority: trustme.CA
    ) -> None:
        answer = await self.posted(certified=trustme.CA(), trusted=authority, name="localhost")

        assert (answer.outcome, answer.detail) == (Outcome.TRY_LATER, "connection_failed")

    async def test_a_host_with_another_ones_certificate_is_told_nothing(
        self, authority: trustme.CA
    ) -> None:
        answer = await self.posted(certified=authority, trusted=authority, name="other.example")

        assert (answer.outcome, answer.detail) == (Outcome.TRY_LATER, "connection_failed")


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


class TestSmtpInSecret:
    """Encryption and login: whose word the relay needs, and who hears the password."""

    PASSWORD = "correct horse"

    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    def relays(self, authority: trustme.CA, name: str = "localhost") -> SSLContext:
        context = SSLContext(PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context

    async def mailed(
        self, relay: Inbox, *, trusted: trustme.CA, password: str = PASSWORD, **options: Any
    ) -> list[Answer]:
        """Send two mails, so that the second goes over the connection that was kept."""
        context = create_default_context()
        trusted.configure_trust(context)
        async with SmtpProvider(
            host="localhost",
            port=relay.address[1],
            clock=SystemClock(),
            timeout=TIMEOUT,
            password=password,
            tls_context=context,
            **options,
        ) as provider:
            return [await provider.send(a_message("smtp", relay.address)) for _ in range(2)]

    @pytest.mark.parametrize("insist", [True, None])
    async def test_a_mail_is_encrypted_where_the_relay_offers_it(
        self, authority: trustme.CA, *, insist: bool | None
    ) -> None:
        # The relay takes no mail in the clear.
        async with inbox(tls_context=self.relays(authority), require_starttls=True) as relay:
            answers = await self.mailed(relay, trusted=authority, starttls=insist)

        assert [answer.outcome for answer in answers] == [Outcome.ACCEPTED] * 2
        assert (len(relay.mails), relay.sessions) == (2, 1)

    async def test_a_mail_stays_here_where_the_relay_does_not_offer_what_we_insist_on(
        self, authority: trustme.CA
    ) -> None:
        async with inbox() as relay:
            answers = await self.mailed(relay, trusted=authority, starttls=True)

        assert {answer.outcome for answer in answers} == {Outcome.TRY_LATER}
        assert relay.mails == []

    async def test_a_mail_is_encrypted_from_the_first_byte(self, authority: trustme.CA) -> None:
        async with inbox(tls=self.relays(authority)) as relay:
            answers = await self.mailed(relay, trusted=authority, tls=True)

        assert [answer.outcome for answer in answers] == [Outcome.ACCEPTED] * 2
        assert (len(relay.mails), relay.sessions) == (2, 1)

    @pytest.mark.parametrize("name", ["localhost", "other.example"])
    @pytest.mark.parametrize("tls", [True, False])
    async def test_a_relay_that_nobody_vouches_for_hears_neither_mail_nor_password(
        self, authority: trustme.CA, *, tls: bool, name: str
    ) -> None:
        heard: list[bytes] = []
        # Of an unknown authority, or of another host.
        theirs = self.relays(trustme.CA() if name == "localhost" else authority, name)
        options = {
            "authenticator": knowing("beckon", self.PASSWORD, heard=heard),
            "auth_require_tls": False,
        }
        options |= {} if tls else {"tls_context": theirs}
        async with inbox(tls=theirs if tls else None, **options) as relay:
            answers = await self.mailed(
                relay, trusted=authority, tls=tls, starttls=not tls, user="beckon"
            )

        assert {answer.outcome for answer in answers} == {Outcome.TRY_LATER}
        assert (relay.mails, heard) == ([], [])

    async def test_whoever_knows_the_password_may_send(self, authority: trustme.CA) -> None:
        heard: list[bytes] = []
        async with inbox(
            tls_context=self.relays(authority),
            authenticator=knowing("beckon", self.PASSWORD, heard=heard),
            auth_required=True,
        ) as relay:
            answers = await self.mailed(relay, trusted=authority, starttls=True, user="beckon")

        assert [answer.outcome for answer in answers] == [Outcome.ACCEPTED] * 2
        # Once: the connection is kept.
        assert heard == [self.PASSWORD.encode()]

    async def test_a_password_that_is_refused_is_told_as_such_and_tried_later(
        self, authority: trustme.CA
    ) -> None:
        heard: list[bytes] = []
        with capture_logs() as logged:
            async with inbox(
                tls_context=self.relays(authority),
                authenticator=knowing("beckon", self.PASSWORD, heard=heard),
                auth_required=True,
            ) as relay:
                answers = await self.mailed(
                    relay, trusted=authority, password="wrong one", starttls=True, user="beckon"
                )

        assert {(answer.outcome, answer.detail) for answer in answers} == {
            (Outcome.TRY_LATER, "login_refused")
        }
        assert relay.mails == []
        assert [entry["event"] for entry in logged] == ["smtp_login_refused"] * 2
        assert "wrong one" not in str(logged)
