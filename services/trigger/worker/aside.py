"""Puts what cannot be judged into quarantine, with why."""

from datetime import datetime
from uuid import uuid4

import structlog
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from google.rpc.status_pb2 import Status

from mesh import metrics
from mesh.eventlog import Record
from services.trigger.convert.events import bug, quarantined_event, quarantined_record
from services.trigger.worker.batch import Batch

log = structlog.get_logger(__name__)


def unreadable(batch: Batch, record: Record, *, now: datetime) -> None:
    """Put a record aside that says nothing."""
    metrics.QUARANTINED.labels(reason="unreadable").inc()
    log.warning("record_quarantined", partition=record.partition)
    batch.quarantined.append(
        quarantined_record(
            record.payload, partition=record.partition, position=record.position, now=now
        )
    )


def refused(
    batch: Batch, record: LogRecord, event: Event, error: Status, partition: int, *, now: datetime
) -> None:
    """Put an event aside that profile did not observe."""
    metrics.QUARANTINED.labels(reason="not_observed").inc()
    batch.quarantined.append(
        quarantined_event(record, event, error, observed=False, partition=partition, now=now)
    )


def failed(
    batch: Batch,
    record: LogRecord,
    event: Event,
    failure: Exception,
    partition: int,
    *,
    now: datetime,
) -> None:
    """Put an event aside that a bug of ours stands in the way of."""
    error_id = str(uuid4())
    log.error("event_not_judged", error_id=error_id, partition=partition, exc_info=failure)
    metrics.QUARANTINED.labels(reason="not_judged").inc()
    error = bug(error_id, failure)
    batch.quarantined.append(
        quarantined_event(record, event, error, observed=True, partition=partition, now=now)
    )
