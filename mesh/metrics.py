"""Every metric there is: its name, its labels, and what to do when it moves.

Labels are bounded (service, method, code, kind, outcome, ...): never a profile, a
campaign or a text from outside.
"""

from prometheus_client import Counter, Gauge, Histogram

# From a tenth of the least deadline to the longest default timeout.
_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)

RPCS = Counter(
    "beckon_rpcs_total",
    "Calls served, by how they ended. INTERNAL is a bug: look for rpc_crashed in the logs.",
    ["method", "code"],
)
RPC_SECONDS = Histogram(
    "beckon_rpc_seconds",
    "Time to serve a call. Rising: look at the database's load first.",
    ["method"],
    buckets=_SECONDS,
)
HEALTHY = Gauge(
    "beckon_dependency_healthy",
    "1 when the dependency answers its check. 0: that dependency is away or frozen.",
    ["dependency"],
)
EVENTS_ACCEPTED = Counter(
    "beckon_events_accepted_total",
    "Events made durable. Falling with steady callers: look at refused events and the log.",
)
EVENTS_REFUSED = Counter(
    "beckon_events_refused_total",
    "Events refused at the door, by reason. Rising: a caller sends what the schema forbids.",
    ["reason"],
)
EVENTS_DUPLICATE = Counter(
    "beckon_events_duplicate_total",
    "Events recognised as repeats, by where. Rising: a caller repeats without backing off.",
    ["where"],
)
EVENTS_ERASED = Counter(
    "beckon_events_erased_total",
    "Events of people who were erased, dropped. Rising: a caller still sends what they do.",
)
EVENTS_JUDGED = Counter(
    "beckon_events_judged_total",
    "Events taken from the log and judged. Flat while lag rises: trigger is stuck.",
)
LOCATIONS_UNREADABLE = Counter(
    "beckon_locations_unreadable_total",
    "Reports of locations that tell no place on earth and move nobody. Rising: a caller sends them"
    " wrongly.",
)
LOG_APPEND_SECONDS = Histogram(
    "beckon_log_append_seconds",
    "Time for one durable append. Rising: the log's disk is slow.",
    buckets=_SECONDS,
)
ENROLLMENTS = Counter(
    "beckon_enrollments_total",
    "Enrollments that ended or began, by what became of them.",
    ["outcome"],
)
BROADCAST_RECIPIENTS = Counter(
    "beckon_broadcast_recipients_total",
    "People whom broadcasts have come to.",
)
DIGEST_EVENTS = Counter(
    "beckon_digest_events_total",
    "Events for digests, by what became of them: gathered, taken_back, told.",
    ["outcome"],
)
IDENTITY_CHANGES = Counter(
    "beckon_identity_changes_total",
    "People united or parted, or erased, whose passages followed, by what became of them.",
    ["change"],
)
DECISIONS = Counter(
    "beckon_decisions_total",
    "Judgements on record, by verdict and the gate that gave it.",
    ["verdict", "gate"],
)
QUARANTINED = Counter(
    "beckon_quarantined_total",
    "Records set aside because they cannot be judged. Any: list the quarantine and replay.",
    ["reason"],
)
VERDICTS = Counter(
    "beckon_throttle_verdicts_total",
    "Answers to reservations, by verdict and rule.",
    ["verdict", "rule"],
)
DELIVERIES = Counter(
    "beckon_deliveries_total",
    "Deliveries settled, by channel and outcome. UNKNOWN or FAILED rising: look at the provider.",
    ["channel", "outcome"],
)
ATTEMPT_SECONDS = Histogram(
    "beckon_attempt_seconds",
    "Time a provider took for one message. Rising: the provider is slow.",
    ["channel"],
    buckets=_SECONDS,
)
UNMADE = Counter(
    "beckon_messages_unmade_total",
    "Messages that could not be made, by why: data or address missing, template gone, too costly.",
    ["channel", "reason"],
)
NOTICES = Gauge(
    "beckon_notices_owed",
    "What throttle, delivery and profile have yet to hear of people united or erased. Rising:"
    " one of them is away or refuses.",
)
OUTBOX = Gauge(
    "beckon_outbox_batches",
    "Batches of endings that peers have yet to hear. Rising: throttle or ingest is away.",
)
OLDEST_DUE_SECONDS = Gauge(
    "beckon_oldest_due_seconds",
    "Age of the oldest work that is due and not done, by queue. The alert is on this one.",
    ["queue"],
)
BATCH_SIZE = Histogram(
    "beckon_batch_size",
    "Items worked off in one turn, by worker. At the upper end: the worker cannot keep up.",
    ["worker"],
    buckets=_BATCH,
)
BATCH_SECONDS = Histogram(
    "beckon_batch_seconds",
    "Time of one turn, by worker.",
    ["worker"],
    buckets=_SECONDS,
)
WORKER_FAILURES = Counter(
    "beckon_worker_failures_total",
    "Turns or items that failed and will be tried again, by worker. Steady: read the logs.",
    ["worker"],
)
SPANS = Counter(
    "beckon_spans_total",
    "Spans, by what became of them. `dropped` rising: the collector is slow or away.",
    ["outcome"],
)

_rpcs: dict[tuple[str, str], Counter] = {}
_rpc_seconds: dict[str, Histogram] = {}


def rpc_finished(method: str, code: str, seconds: float) -> None:
    """Count one call; keeps the labelled children, which halves the cost."""
    counter = _rpcs.get((method, code))
    if counter is None:
        counter = _rpcs[method, code] = RPCS.labels(method=method, code=code)
    counter.inc()
    histogram = _rpc_seconds.get(method)
    if histogram is None:
        histogram = _rpc_seconds[method] = RPC_SECONDS.labels(method=method)
    histogram.observe(seconds)
