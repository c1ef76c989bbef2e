"""Spans of what led to a message, made afterwards with the times at which it was."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from mesh import tracing
from services.trigger.model import Effects, Enrollment, Occurrence
from services.trigger.worker.batch import Item, Stages

_ME = "trigger"


def record_ignored(events: Iterable[tuple[Occurrence, Stages]]) -> None:
    """Record the spans of events that no campaign wants to hear of."""
    for event, stages in events:
        _record_event(event, stages, (), None, None)


def record_turn(
    items: "Iterable[Item]", effects: Effects, begun: datetime, judged: datetime
) -> None:
    """Record the spans of a turn: of events that began something, and of those sampled."""
    began: dict[UUID, list[Enrollment]] = {}
    for passage in effects.enrollments:
        if not passage.revision:
            began.setdefault(passage.event.uid, []).append(passage)
    for item in items:
        event = item.occurrence
        passages = began.get(event.uid, [])
        if passages or event.trace.sampled:
            _record_event(event, item.stages, passages, begun, judged)


def _record_event(
    event: Occurrence,
    stages: Stages,
    passages: Iterable[Enrollment],
    begun: datetime | None,
    judged: datetime | None,
) -> None:
    trace_id, subject = event.trace.trace_id, event.uid.bytes
    root = tracing.span_id(trace_id, "event", subject)
    # The log tells milliseconds; it never had an event before ingest did.
    appended = max(stages.append_time or event.receive_time, event.receive_time)
    tracing.record_span(
        service="ingest",
        name="event",
        trace_id=trace_id,
        span_id=root,
        parent_span_id=event.trace.parent_span_id,
        start=event.receive_time,
        end=appended,
        attributes={
            "beckon.workspace": event.workspace,
            "beckon.event_id": event.event_id,
            "beckon.event_type": event.type,
        },
    )
    spans = [
        ("log.wait", "ingest", appended, max(stages.read_time, appended)),
        ("observe", "profile", stages.observe_start, stages.observe_end),
        ("judge", _ME, begun, judged),
    ]
    for name, service, start, end in spans:
        if start is None or end is None:
            continue
        attributes = None
        if name == "judge":
            attributes = {
                "beckon.campaigns": [passage.key.campaign for passage in passages],
                "beckon.verdict": "enter" if passages else "refuse",
            }
        tracing.record_span(
            service=service,
            name=name,
            trace_id=trace_id,
            span_id=tracing.span_id(trace_id, name, subject),
            parent_span_id=root,
            start=start,
            end=end,
            attributes=attributes,
        )


def record_wait(passage: Enrollment, until: datetime) -> None:
    """Record that a passage waited for its time; also after days."""
    _record_of(passage, "timer.wait", _ME, passage.decide_time, until)


def record_reserve(passage: Enrollment, start: datetime, end: datetime, verdict: str) -> None:
    """Record that throttle was asked."""
    _record_of(passage, "reserve", "throttle", start, end, {"beckon.verdict": verdict})


def _record_of(
    passage: Enrollment,
    name: str,
    service: str,
    start: datetime,
    end: datetime,
    attributes: dict[str, str] | None = None,
) -> None:
    trace_id, event = passage.event.trace.trace_id, passage.event.uid.bytes
    subject = event + passage.key.campaign.encode()
    tracing.record_span(
        service=service,
        name=name,
        trace_id=trace_id,
        span_id=tracing.span_id(trace_id, name, subject),
        parent_span_id=tracing.span_id(trace_id, "event", event),
        start=start,
        end=end,
        attributes={
            "beckon.campaign": passage.key.campaign,
            **({"beckon.variant": passage.variant} if passage.variant else {}),
            **(attributes or {}),
        },
    )
