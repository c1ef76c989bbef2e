"""Makes sure that one trace shows the way of an event to its message, with true times and parents."""

import pytest

from mesh.tracing import pipeline
from mesh.tracing.record import SpanRecord
from tests.integration.trigger.house import House, a_campaign, an_event

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Spans:
    """Keeps spans instead of sending them."""

    def __init__(self) -> None:
        self.kept: list[SpanRecord] = []

    def put(self, span: SpanRecord) -> None:
        self.kept.append(span)

    def close(self, timeout: float) -> None:
        """Nothing to send."""

    def names(self) -> list[str]:
        return [span.name for span in self.kept]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    kept = Spans()
    monkeypatch.setattr(pipeline._State, "writer", kept)
    monkeypatch.setattr(pipeline._State, "sample_below", 0)
    return kept


async def test_a_message_is_traced_from_its_caller_on_also_over_a_delay(
    house: House, spans: Spans
) -> None:
    await house.launch(a_campaign(delay=86400))
    await house.append(an_event(id="e", traceparent=f"00-{TRACE}-{CALLER}-00"))
    await house.work()
    house.clock.advance(days=1)

    await house.work()

    root, *rest = spans.kept
    [created] = house.out
    waited = next(span for span in rest if span.name == "timer.wait")
    assert spans.names() == ["event", "log.wait", "observe", "judge", "timer.wait", "reserve"]
    assert {span.trace_id.hex() for span in spans.kept} == {TRACE}
    assert (root.parent_span_id or b"").hex() == CALLER
    assert {span.parent_span_id for span in rest} == {root.span_id}
    assert waited.end_ns - waited.start_ns == 86400 * 10**9
    assert [span.service for span in spans.kept] == [
        "ingest",
        "ingest",
        "profile",
        "trigger",
        "trigger",
        "throttle",
    ]
    assert created.trace.trace_id.hex() == TRACE
    assert created.trace.parent_span_id == root.span_id
    assert created.trace.sampled
    assert (await house.decision("e")).trace_id == TRACE


async def test_an_event_that_leads_to_nothing_is_traced_if_its_caller_samples(
    house: House, spans: Spans
) -> None:
    await house.launch(a_campaign(filter="false"))
    await house.append(
        an_event(traceparent=f"00-{TRACE}-{CALLER}-01"),
        an_event(traceparent=f"00-{TRACE}-{CALLER}-00"),
        an_event("page_viewed", id="seen", traceparent=f"00-{TRACE}-{CALLER}-01"),
        an_event(),
    )

    await house.work()

    assert sorted(spans.names()) == sorted(
        ["event", "log.wait", "observe", "judge", "event", "log.wait", "observe"]
    )


async def test_every_event_is_traced_where_the_ratio_says_so(house: House, spans: Spans) -> None:
    house.worker.turns._sample_below = 2**32
    await house.append(an_event(), an_event("page_viewed"))

    await house.work()

    assert spans.names().count("event") == 2


async def test_what_is_done_twice_is_one_span(house: House, spans: Spans) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.judge()
    house.memory.faults.lose_reply("ReserveSends")

    await house.work()

    assert len({span.span_id for span in spans.kept}) == len(set(spans.names()))
