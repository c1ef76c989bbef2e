"""The side door of a sink: counts, arrivals and faults over HTTP, under `/_sink/`."""

from dataclasses import asdict

import msgspec
from aiohttp import web

from stack.sinks import faults
from stack.sinks.store import Recorder

PREFIX = "/_sink/"


async def answer(request: web.BaseRequest, recorder: Recorder, own: faults.Faults) -> web.Response:
    """Answer a request under the prefix.

    GET counts; GET arrivals (key → nanoseconds of its first acceptance); DELETE arrivals;
    PUT faults (a JSON list); DELETE faults.
    """
    match request.method, request.path.removeprefix(PREFIX):
        case "GET", "counts":
            counts = recorder.counts()
            return _json(asdict(counts) | {"repeats": counts.repeats})
        case "GET", "arrivals":
            return _json(recorder.first_arrivals())
        case "DELETE", "arrivals":
            recorder.clear()
        case "PUT", "faults":
            try:
                own.set(faults.parse(await request.read()))
            except msgspec.MsgspecError as error:
                return web.Response(status=400, text=f"{error}\n")
        case "DELETE", "faults":
            own.set(())
        case _:
            return web.Response(status=404, text="no such thing at this sink\n")
    return web.Response(status=204)


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
