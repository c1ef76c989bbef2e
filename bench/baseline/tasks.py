"""The Celery worker: one task a message, which judges the cap, renders, posts and records."""

import time
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import urllib3
from celery import Celery
from celery.signals import worker_process_init
from psycopg.types.json import set_json_loads

from bench.baseline import campaign, settings
from bench.baseline.caps import Caps
from bench.campaign import ID

SETTINGS = settings.load()

app = Celery("baseline", broker=SETTINGS.redis_url)
app.conf.update(
    # Nobody asks for results; storing them would cost two more round trips a message.
    task_ignore_result=True,
    # A killed worker's task runs again; the message's id keeps it to one message.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # Enough waiting at each child to hide the broker's round trip, few enough to be repeated cheaply after a crash.
    worker_prefetch_multiplier=32,
    broker_pool_limit=8,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
    task_serializer="json",
    accept_content=["json"],
    # All of these watch or steer workers at a price per task; the job needs none of them.
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_disable_rate_limits=True,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    task_track_started=False,
    task_create_missing_queues=True,
    task_default_queue="messages",
)

_SELECT = """
SELECT p.attributes FROM messages m LEFT JOIN profiles p ON p.id = m.profile
WHERE m.id = %s AND m.state = 'pending'
"""
_SUPPRESS = "UPDATE messages SET state = 'suppressed' WHERE id = %s AND state = 'pending'"

# One statement, one commit: the message is settled and history learns of it, as the mesh's history does by its receipts.
_SETTLE = """
WITH settled AS (
    UPDATE messages SET state = 'sent', send_time = now() WHERE id = %(id)s AND state = 'pending'
    RETURNING id, profile
), receipt AS (
    INSERT INTO events (id, profile, type, occur_time, properties)
    SELECT 'sent-' || id, profile, 'message_sent', now(), %(properties)s::jsonb FROM settled
    ON CONFLICT (id) DO NOTHING RETURNING profile
)
INSERT INTO counters (profile, type, count, first_time, last_time)
SELECT profile, 'message_sent', 1, now(), now() FROM receipt
ON CONFLICT (profile, type) DO UPDATE SET count = counters.count + 1, last_time = excluded.last_time
"""
_RECEIPT = msgspec.json.encode({"campaign": ID, "channel": "webhook"}).decode()


class Worker:
    """What one child process holds for its whole life: connections and the compiled template."""

    def __init__(self) -> None:
        """Connect to PostgreSQL, Redis and the webhook's host."""
        set_json_loads(msgspec.json.decode)
        self._db = psycopg.connect(SETTINGS.database_url, autocommit=True, prepare_threshold=0)
        self._caps = Caps(
            SETTINGS.redis_url, limit=SETTINGS.cap_limit, window_ms=SETTINGS.cap_window_ms
        )
        self._http = urllib3.PoolManager(num_pools=1, maxsize=1, retries=False, timeout=10)

    def deliver(self, message: str, profile: str, event: dict[str, Any]) -> None:
        """Send one message, unless it was sent before or the person may not get it."""
        row = self._db.execute(_SELECT, (UUID(message),)).fetchone()
        if row is None:
            return
        if not self._caps.reserve(profile, message, now_ms=time.time_ns() // 1_000_000):
            self._db.execute(_SUPPRESS, (UUID(message),))
            return
        body = campaign.render(event, {"id": profile, "attributes": row[0] or {}})
        headers = {"content-type": "application/json", "idempotency-key": message}
        reply = self._http.request("POST", SETTINGS.webhook_url, body=body, headers=headers)
        if not 200 <= reply.status < 300:
            raise OSError(reply.status)
        self._db.execute(_SETTLE, {"id": UUID(message), "properties": _RECEIPT})


_worker: list[Worker] = []


@worker_process_init.connect
def _set_up(**_: object) -> None:
    """Connect after the fork: sockets must not be shared between children."""
    _worker[:] = [Worker()]


@app.task(
    name="deliver",
    autoretry_for=(OSError, urllib3.exceptions.HTTPError),
    retry_backoff=True,
    max_retries=8,
)
def deliver(message: str, profile: str, event: dict[str, Any]) -> None:
    """Deliver one message; trouble with the webhook's host is tried again with a backoff."""
    _worker[0].deliver(message, profile, event)
