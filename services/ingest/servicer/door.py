"""Takes one batch in: checks it, drops what is known, hands the rest to the log."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1.event_pb2 import Event
from google.rpc.status_pb2 import Status

from mesh.callers import current_caller
from mesh.clock import Clock
from mesh.errors import InvalidArgument, ResourceExhausted, invalid_field
from mesh.ids import shard_of_name
from mesh.metrics import EVENTS_ACCEPTED, EVENTS_DUPLICATE, EVENTS_REFUSED
from mesh.names import workspace_of
from services.ingest import convert, rules
from services.ingest.model import Admission
from services.ingest.store import Appender, RecentIds

EVENTS_MAX = 1000
# Beside `events:write`, for the mesh's own services.
DERIVE_SCOPE = "events:derive"
# The log syncs in milliseconds; one that restarts is back in seconds.
_BREATHER = timedelta(seconds=1)

_known_duplicates = EVENTS_DUPLICATE.labels(where="door")


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch. Only when it is handed out are the accepted events durable."""

    accepted_count: int
    duplicate_count: int
    failed_events: Mapping[int, Status]


class Door:
    """Lets batches in, in the order in which `enter` is called."""

    def __init__(
        self, appender: Appender, recent_ids: RecentIds, clock: Clock, *, partitions: int
    ) -> None:
        """Spread persons over `partitions` of the log."""
        self._appender = appender
        self._recent_ids = recent_ids
        self._clock = clock
        self._partitions = partitions

    def require_room(self) -> None:
        """Refuse who can wait no better than we can.

        Raises:
            ResourceExhausted: The log is behind, and enough waits for it.
        """
        if self._appender.full:
            raise ResourceExhausted(
                ErrorReason.ERROR_REASON_QUOTA_EXCEEDED,
                "too much waits for the event log already",
                retry_delay=_BREATHER,
            )

    async def room(self) -> None:
        """Return when the log is not behind."""
        await self._appender.relieved()

    def enter(self, request: convert.Request, *, after: "Entry | None" = None) -> "Entry":
        """Check a batch and hand it to the log; `Entry.taken` waits until it is durable.

        It comes to nothing when the batch `after` which it follows did.

        Raises:
            InvalidArgument: The batch is empty or too large, or `parent` is no workspace.
        """
        before = after.done if after else None
        parent, events = request.parent, request.events
        workspace = _checked(parent, events)
        now = self._clock.now()
        send_time = request.send_time if request.HasField("send_time") else None
        if send_time is not None and not rules.may_be(send_time.seconds, now):
            # Times corrected by it would lie where no time can.
            raise invalid_field("send_time", rules.BAD_TIME, reason="timestamp.range")
        columns = convert.columns(events)
        raw = convert.raw_events(request)
        fingerprints = convert.fingerprints(columns, raw)
        known = self._recent_ids.recall(workspace, columns.event_ids)
        admission = rules.admit(
            columns,
            parent=parent,
            now=now,
            fingerprints=fingerprints,
            known=known,
            may_derive=_may_derive(),
        )
        profiles, event_ids = columns.profiles, columns.event_ids
        if len(admission.fresh) < len(columns):
            profiles = [profiles[index] for index in admission.fresh]
            event_ids = [event_ids[index] for index in admission.fresh]
            fingerprints = [fingerprints[index] for index in admission.fresh]
            raw = [raw[index] for index in admission.fresh]
        offset = convert.clock_offset_us(send_time, now)
        records = [
            (partition, convert.log_record(workspace, some, receive_time=now, offset_us=offset))
            for partition, some in enumerate(self._by_partition(raw, profiles))
            if some
        ]
        return Entry(
            done=self._appender.append(records, after=before) if records else before,
            admission=admission,
            failed_events=convert.statuses(admission.refused, columns),
            workspace=workspace,
            event_ids=event_ids,
            fingerprints=fingerprints,
            recent_ids=self._recent_ids,
        )

    def _by_partition(self, raw: Sequence[bytes], profiles: Sequence[str]) -> list[list[bytes]]:
        parts: list[list[bytes]] = [[] for _ in range(self._partitions)]
        for content, profile in zip(raw, profiles, strict=True):
            parts[shard_of_name(profile) % self._partitions].append(content)
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A batch that the log has been handed."""

    done: "asyncio.Future[None] | None"
    admission: Admission
    failed_events: Mapping[int, Status]
    workspace: str
    event_ids: Sequence[str]
    fingerprints: Sequence[bytes]
    recent_ids: RecentIds

    async def taken(self) -> Taken:
        """Wait until the accepted events are durable.

        Raises:
            Unavailable: The log is away; nobody may believe that anything was taken.
        """
        if self.done is not None:
            await self.done
            self.recent_ids.remember(self.workspace, self.event_ids, self.fingerprints)
        admission = self.admission
        EVENTS_ACCEPTED.inc(len(admission.fresh))
        if admission.duplicates:
            _known_duplicates.inc(len(admission.duplicates))
        if admission.refused:
            faults = Counter(violations[0].fault for violations in admission.refused.values())
            for fault, count in faults.items():
                EVENTS_REFUSED.labels(reason=fault).inc(count)
        return Taken(
            accepted_count=len(admission.fresh) + len(admission.duplicates),
            duplicate_count=len(admission.duplicates),
            failed_events=self.failed_events,
        )


def _may_derive() -> bool:
    caller = current_caller()
    return caller is not None and caller.has_scope(DERIVE_SCOPE)


def _checked(parent: str, events: Sequence[Event]) -> str:
    workspace = workspace_of(parent, field="parent")
    if parent != f"workspaces/{workspace}":
        raise invalid_field("parent", "must have the form workspaces/{workspace}", reason="name")
    if not events:
        raise invalid_field("events", "must hold at least one event", reason="repeated.min_items")
    if len(events) > EVENTS_MAX:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_BATCH_TOO_LARGE,
            f"a batch takes at most {EVENTS_MAX:,} events, this one has {len(events):,}",
            metadata={"limit": str(EVENTS_MAX), "got": str(len(events))},
        )
    return workspace
