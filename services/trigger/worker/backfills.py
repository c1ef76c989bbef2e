"""Plans campaigns that go by a date for all who had the date when they were launched."""

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid5

import msgspec
import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1.watch_service_pb2 import StreamAudienceRequest

from mesh import metrics, tracing
from mesh.clock import Clock
from mesh.errors import Aborted, FailedPrecondition, MeshError
from mesh.ids import event_uid
from mesh.postgres import Connection
from mesh.server import Stopping
from services.trigger.clients import Page, Profile
from services.trigger.convert.beginnings import ATTRIBUTE_CHANGED
from services.trigger.model import Candidate, Occurrence, Person, Trace
from services.trigger.store import Backfill, BackfillStore
from services.trigger.worker.admissions import Admissions

log = structlog.get_logger(__name__)

# Longer than a page takes; whoever dies is followed after it.
_LEASE = timedelta(seconds=30)
_LOOK_SECONDS = 1.0
# One that cannot be gone through rests for so long, and the others are.
_REST = timedelta(seconds=5)
# Names of the events that planned passages begin with; for ever.
_NAMESPACE = UUID("c5d6b0a8-5f93-5e53-9a06-1a7a4f1a7b55")


class Backfills:
    """Goes through the people of one campaign after the other, a page in a transaction.

    What the log tells of a date meanwhile is newer than what is read here or is told again:
    judging asks how the person stands, whichever comes first.
    """

    def __init__(
        self, *, store: BackfillStore, profile: Profile, admissions: Admissions, clock: Clock
    ) -> None:
        """Take what is to be done, who knows the people, and who begins passages."""
        self._store = store
        self._profile = profile
        self._admissions = admissions
        self._clock = clock

    async def run(self, stopping: Stopping) -> None:
        """Go through whatever there is, until told to stop."""
        while not stopping.is_set():
            try:
                if await self.run_once(stopping):
                    continue
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="backfills").inc()
                log.warning("backfill_failed", reason=error.message)
            except Exception:  # one campaign must not stop the others, nor the worker
                metrics.WORKER_FAILURES.labels(worker="backfills").inc()
                log.exception("backfill_not_judged")
            await stopping.wait(_LOOK_SECONDS)

    async def run_once(self, stopping: Stopping) -> bool:
        """Go through one campaign's people; return whether there was one."""
        now = self._clock.now()
        backfill = await self._store.claim(now, lease_until=now + _LEASE)
        if backfill is None:
            return False
        try:
            await self._go_through(backfill, stopping)
        except FailedPrecondition:
            # Archived: nobody is planned any more.
            await self._store.end(backfill)
        except MeshError as error:
            rests = self._clock.now() + _REST
            await self._store.fail(backfill, error.message, until=rests)
            raise
        except Exception:
            rests = self._clock.now() + _REST
            await self._store.fail(backfill, "a failure of ours", until=rests)
            raise
        return True

    async def _go_through(self, backfill: Backfill, stopping: Stopping) -> None:
        request = StreamAudienceRequest(
            parent=f"workspaces/{backfill.workspace}",
            filter=f"{json.dumps(backfill.attribute)} in profile.attributes",
            cursor=backfill.cursor,
        )
        async for page in self._profile.audience(request):
            backfill = await self._plan(backfill, page)
            if stopping.is_set():
                # Whoever comes next goes on from here.
                return
        await self._store.end(backfill)

    async def _plan(self, backfill: Backfill, page: Page) -> Backfill:
        count = backfill.count + len(page.found)
        lease_until = self._clock.now() + _LEASE

        async def move(connection: Connection) -> None:
            moved = await self._store.move(
                connection, backfill, cursor=page.cursor, count=count, lease_until=lease_until
            )
            if not moved:
                raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "launched again meanwhile")

        await self._admissions.admit(
            backfill.workspace,
            backfill.campaign,
            [Candidate(_event(backfill, one.person), one.person) for one in page.found],
            beside=move,
        )
        return replace(backfill, cursor=page.cursor, count=count)


def _event(backfill: Backfill, person: Person) -> Occurrence:
    """Return the event that tells of a date as if it had just been set; of one launch the same."""
    place = f"{backfill.workspace}/{backfill.campaign}/{backfill.revision}/{person.profile}"
    event_id = f"date-{uuid5(_NAMESPACE, place)}"
    uid = event_uid(backfill.workspace, event_id)
    properties = {
        "attribute": backfill.attribute,
        "to": person.attributes.get(backfill.attribute),
    }
    return Occurrence(
        uid=uid,
        event_id=event_id,
        type=ATTRIBUTE_CHANGED,
        workspace=backfill.workspace,
        profile=person.profile,
        occur_time=backfill.begin_time,
        receive_time=backfill.begin_time,
        properties=properties,
        properties_json=msgspec.json.encode(properties),
        trace=Trace(*tracing.trace_of("", uid)),
    )
