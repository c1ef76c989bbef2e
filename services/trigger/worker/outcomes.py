"""Tells of a committed turn: the relay, the timers and the metrics."""

from collections.abc import Callable
from dataclasses import replace

from prometheus_client import Counter

from mesh import metrics
from services.trigger.model import Enrollment, EnrollmentState, Person
from services.trigger.worker.batch import Judged
from services.trigger.worker.relay import Relay
from services.trigger.worker.timers import Timers

_ENTERED = metrics.ENROLLMENTS.labels(outcome="entered")
_EXITED = metrics.ENROLLMENTS.labels(outcome="exited")
_GATHERED = metrics.DIGEST_EVENTS.labels(outcome="gathered")
_TAKEN_BACK = metrics.DIGEST_EVENTS.labels(outcome="taken_back")
_refusals: dict[str, Counter] = {}


class Outcomes:
    """Where the outcome of a turn goes."""

    def __init__(
        self, *, relay: Relay, timers: Timers, tell: Callable[[], None] = lambda: None
    ) -> None:
        """Take who carries on from here; `tell` hears that there is a broadcast."""
        self._tell = tell
        self._relay = relay
        self._timers = timers

    def tell(self, judged: Judged) -> None:
        """Hand on what a committed turn decided."""
        released: list[tuple[Enrollment, Person]] = []
        canceling: list[Enrollment] = []
        entered = exited = 0
        metrics.LOCATIONS_UNREADABLE.inc(judged.unreadable)
        for refusal in judged.effects.refusals:
            _count_refusal(refusal.gates[-1].name)
        for passage in judged.effects.enrollments:
            # What the commit made of it.
            stored = replace(passage, revision=passage.revision + 1)
            match passage.state:
                case EnrollmentState.SENDING:
                    released.append((stored, judged.people[passage.key, passage.event.uid]))
                case EnrollmentState.CANCELING:
                    canceling.append(stored)
                case EnrollmentState.WAITING if passage.wake_time is not None:
                    self._timers.expect(passage.wake_time)
                case _:
                    pass
            if not passage.revision:
                entered += 1
            elif passage.state is EnrollmentState.EXITED:
                exited += 1
        if judged.effects.tellings:
            self._tell()
        _GATHERED.inc(len(judged.effects.digests.added))
        _TAKEN_BACK.inc(sum(bool(one.removed) for one in judged.effects.digests.removed))
        _ENTERED.inc(entered)
        _EXITED.inc(exited)
        self._relay.offer(released, canceling)


def _count_refusal(gate: str) -> None:
    counter = _refusals.get(gate)
    if counter is None:
        counter = _refusals[gate] = metrics.DECISIONS.labels(verdict="refuse", gate=gate)
    counter.inc()
