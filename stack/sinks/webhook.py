"""The webhook sink: accepts every request and records it.

`python -m stack.sinks.webhook --listen 127.0.0.1:50080 --store FILE` (or `--memory`).
"""

import asyncio

from aiohttp import web

from stack.sinks import control
from stack.sinks.command import Options, options, run
from stack.sinks.faults import Fault, Faults, Kind
from stack.sinks.store import Arrival, Recorder

_OK = b'{"ok":true}'


class WebhookSink:
    """Answers requests: 200, unless a fault strikes."""

    def __init__(self, recorder: Recorder, faults: Faults) -> None:
        self._recorder = recorder
        self._faults = faults

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Record a request, then answer it."""
        if request.path.startswith(control.PREFIX):
            return await control.answer(request, self._recorder, self._faults)
        headers = {name.lower(): value for name, value in request.headers.items()}
        fault = self._faults.strike((request.path,), headers)
        arrival = Arrival(
            key=headers.get("idempotency-key", ""),
            target=request.path,
            head={"method": request.method, "headers": headers},
            body=await request.read(),
            accepted=fault is None or fault.kind in {Kind.STALL, Kind.DROP},
        )
        await self._recorder.record(arrival)
        if fault is not None:
            return await self._misbehave(request, fault)
        return web.Response(body=_OK, content_type="application/json")

    async def _misbehave(self, request: web.BaseRequest, fault: Fault) -> web.Response:
        if fault.kind in {Kind.DROP, Kind.CUT}:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if fault.kind is Kind.STALL:
            await self._faults.stall(fault)
            return web.Response(body=_OK, content_type="application/json")
        wait = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
        return web.Response(status=fault.status, headers=wait, text="told to refuse\n")


async def serve(chosen: Options) -> None:
    """Serve until cancelled."""
    sink = WebhookSink(chosen.recorder, chosen.faults)
    # The bare server: routing and access logs cost more than the rest.
    loop = asyncio.get_running_loop()
    await loop.create_server(web.Server(sink.answer), *chosen.listen, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve, options("stack.sinks.webhook", control=False))
