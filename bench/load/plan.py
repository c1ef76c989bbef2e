"""Deals a load's batches out to the lanes that send them, and notes the answers."""

import asyncio
import time

from bench.load.events import Batches
from bench.load.spec import Load, Sent


class Plan:
    """Says which batch is next and when; shared by all lanes of a generator."""

    def __init__(self, load: Load, batches: Batches) -> None:
        """Begin the clock of a load with a rate."""
        self._load = load
        self._batches = batches
        self._next = load.first
        self._end = load.first + load.batches
        self.sent = Sent(begin_ns=time.monotonic_ns())
        self._spacing_ns = int(load.shape.batch_size / load.rate * 1e9) if load.rate else 0
        self._stop_ns = self.sent.begin_ns + int(load.seconds * 1e9) if load.seconds else 0

    async def take(self) -> tuple[int, bytes] | None:
        """Return the next batch when it is due; None when the load is over."""
        if self._next >= self._end or (self._stop_ns and time.monotonic_ns() >= self._stop_ns):
            return None
        number = self._next
        self._next += 1
        if self._spacing_ns:
            due = self.sent.begin_ns + (number - self._load.first) * self._spacing_ns
            wait = due - time.monotonic_ns()
            if wait > 0:
                await asyncio.sleep(wait / 1e9)
            else:
                self.sent.late_ns = max(self.sent.late_ns, -wait)
        return number, self._batches.batch(number)

    def answered(self, number: int, *, accepted: int) -> None:
        """Note how many events of a batch were accepted."""
        sent = self.sent
        sent.end_ns = sent.acks[number] = time.monotonic_ns()
        sent.events += accepted
        sent.failed += self._load.shape.batch_size - accepted
        # A batch that is accepted in part is an error of the measurement, seen in `failed`.
        sent.messages += self._batches.messages(number)

    def lost(self, *, batches: int = 1) -> None:
        """Note batches that got no answer, or a refusal."""
        self.sent.failed += batches * self._load.shape.batch_size
