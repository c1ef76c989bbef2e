"""Sends mail through a relay, over connections that are kept."""

import asyncio
import ssl
from collections import deque
from datetime import timedelta
from types import TracebackType
from typing import Self

import aiosmtplib
import structlog

from mesh.clock import Clock
from services.delivery.model import Answer, Outcome
from services.delivery.providers import mime
from services.delivery.providers.provider import Email
from services.delivery.rules import smtp_outcome

log = structlog.get_logger(__name__)

_GO_ON = 354
# The relay says goodbye with it, and the connection is gone.
_CLOSING = 421


class SmtpProvider:
    """One relay. A repeated mail is a second mail: nothing drops it."""

    repeat_safe = False

    def __init__(
        self,
        *,
        host: str,
        port: int,
        clock: Clock,
        tls: bool = False,
        starttls: bool | None = None,
        user: str = "",
        password: str = "",
        timeout: timedelta = timedelta(seconds=30),
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        """Take where the relay is; connections are made when needed."""
        self._host = host
        self._port = port
        self._clock = clock
        self._tls = tls
        self._starttls = starttls
        self._user = user
        self._password = password
        self._timeout = timeout.total_seconds()
        self._tls_context = tls_context
        self._idle: deque[aiosmtplib.SMTP] = deque()

    async def __aenter__(self) -> Self:
        """Do nothing: connections are made when needed."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().close()

    async def send(self, message: Email) -> Answer:
        """Hand one mail over; after its last byte silence means that nobody can tell."""
        try:
            sender = mime.sender_of(message.sender)
            recipient = mime.Mailbox(message.recipient)
        except mime.BadAddress:
            return Answer(Outcome.REFUSED, "address_invalid")
        content = mime.write(message, sender=sender, recipient=recipient, now=self._clock.now())
        transfer = _Transfer(self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._hand_over(transfer, sender, recipient, content)
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError, EOFError) as error:
            transfer.break_off()
            if transfer.committed:
                return Answer(Outcome.NO_ANSWER, "no_answer")
            return Answer(Outcome.TRY_LATER, _reason(error))
        except BaseException:
            transfer.break_off()
            raise
        if answer.outcome is Outcome.ACCEPTED:
            return answer._replace(provider_message_id=mime.message_id(message.delivery_id, sender))
        return answer

    async def _hand_over(
        self, transfer: "_Transfer", sender: mime.Mailbox, recipient: mime.Mailbox, content: bytes
    ) -> Answer:
        while self._idle:
            transfer.client = self._idle.pop()
            if transfer.client.is_connected:
                try:
                    code, _ = await transfer.command(b"MAIL", _from(sender, recipient))
                    break
                except (aiosmtplib.SMTPServerDisconnected, ConnectionError):
                    # Closed while it lay idle; nothing of the mail was said.
                    transfer.break_off()
        else:
            transfer.client = await self._connect()
            code, _ = await transfer.command(b"MAIL", _from(sender, recipient))
        if (sender.utf8 or recipient.utf8) and not transfer.client.supports_extension("smtputf8"):
            return await self._refused(transfer, Answer(Outcome.REFUSED, "smtputf8_missing"))
        if smtp_outcome(code) is not Outcome.ACCEPTED:
            return await self._refused(transfer, _answer(code))
        code, _ = await transfer.command(b"RCPT", f"TO:<{recipient.address}>".encode())
        if smtp_outcome(code) is not Outcome.ACCEPTED:
            return await self._refused(transfer, _answer(code))
        code, _ = await transfer.command(b"DATA")
        if code != _GO_ON:
            return await self._refused(transfer, _answer(code))
        code = await transfer.commit(content)
        if code == _CLOSING:
            transfer.break_off()
        else:
            self._idle.append(transfer.client)
        return _answer(code)

    async def _refused(self, transfer: "_Transfer", answer: Answer) -> Answer:
        """Make the connection fit for the next mail, or drop it."""
        client = transfer.client
        assert client is not None
        try:
            code, _ = await transfer.command(b"RSET")
            if answer.detail != str(_CLOSING) and smtp_outcome(code) is Outcome.ACCEPTED:
                self._idle.append(client)
                return answer
        except (aiosmtplib.SMTPException, OSError):
            pass
        transfer.break_off()
        return answer

    async def _connect(self) -> aiosmtplib.SMTP:
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            use_tls=self._tls,
            start_tls=False if self._tls else self._starttls,
            username=self._user or None,
            password=self._password or None,
            timeout=self._timeout,
            tls_context=self._tls_context,
        )
        try:
            await client.connect()
            if client.last_ehlo_response is None:
                await client.ehlo()
        except BaseException:
            client.close()
            raise
        return client


class _Transfer:
    """One mail on its way over one connection."""

    def __init__(self, timeout: float) -> None:
        self.client: aiosmtplib.SMTP | None = None
        self.committed = False
        """Whether bytes of the mail went out: from here on silence means unknown."""
        self._timeout = timeout

    async def command(self, *words: bytes) -> tuple[int, str]:
        assert self.client is not None
        response = await self.client.execute_command(*words, timeout=self._timeout)
        return response.code, response.message

    async def commit(self, content: bytes) -> int:
        assert self.client is not None
        protocol = self.client.protocol
        if protocol is None:
            message = "closed"
            raise aiosmtplib.SMTPServerDisconnected(message)
        self.committed = True
        protocol.write(content)
        return (await protocol.read_response(timeout=self._timeout)).code

    def break_off(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None


def _from(sender: mime.Mailbox, recipient: mime.Mailbox) -> bytes:
    utf8 = " SMTPUTF8" if sender.utf8 or recipient.utf8 else ""
    return f"FROM:<{sender.address}>{utf8}".encode()


def _answer(code: int) -> Answer:
    return Answer(smtp_outcome(code), str(code))


def _reason(error: BaseException) -> str:
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        log.error("smtp_login_refused", code=error.code)
        return "login_refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "connection_failed"
