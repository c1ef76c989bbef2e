"""The mail sink: accepts every mail and records it.

`python -m stack.sinks.mail --listen 127.0.0.1:50025 --store FILE` (or `--memory`), and
`--control HOST:PORT` for counts and faults.
"""

import asyncio

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from stack.sinks import control
from stack.sinks.command import Options, options, run
from stack.sinks.faults import Fault, Faults, Kind
from stack.sinks.store import Arrival, Recorder, message_id_of

_ACCEPTED = "250 OK"


class MailSink:
    """Takes mails: 250, unless a fault strikes."""

    def __init__(self, recorder: Recorder, faults: Faults) -> None:
        self._recorder = recorder
        self._faults = faults

    async def handle_DATA(  # noqa: N802 — the library's name for it.
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Record a mail, then answer for it."""
        del session
        message = envelope.content if isinstance(envelope.content, bytes) else b""
        recipients = [str(one) for one in envelope.rcpt_tos]
        fault = self._faults.strike(recipients, {})
        arrival = Arrival(
            key=message_id_of(message),
            target=" ".join(recipients),
            head={"sender": str(envelope.mail_from)},
            body=message,
            accepted=fault is None or fault.kind in {Kind.STALL, Kind.DROP},
        )
        await self._recorder.record(arrival)
        return _ACCEPTED if fault is None else await self._misbehave(server, fault)

    async def _misbehave(self, server: SMTP, fault: Fault) -> str:
        match fault.kind:
            case Kind.REFUSE:
                return f"{fault.status} told to refuse"
            case Kind.STALL:
                await self._faults.stall(fault)
            case Kind.DROP | Kind.CUT:
                # By name, as the loop's transport is no subclass of asyncio's.
                getattr(server.transport, "abort")()  # noqa: B009 — nor does mypy see the method.
                # Until the loss of the connection cancels us: an answer now could still get out.
                await asyncio.Event().wait()
        return _ACCEPTED


async def serve(chosen: Options) -> None:
    """Serve until cancelled."""
    sink = MailSink(chosen.recorder, chosen.faults)
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(sink, hostname="sink.invalid", enable_SMTPUTF8=True, loop=loop)

    async def side_door(request: web.BaseRequest) -> web.StreamResponse:
        return await control.answer(request, chosen.recorder, chosen.faults)

    if chosen.control is not None:
        await loop.create_server(web.Server(side_door), *chosen.control)
    await loop.create_server(protocol, *chosen.listen, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve, options("stack.sinks.mail", control=True))
