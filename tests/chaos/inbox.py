"""What arrived at the receiver, read as it grows."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stack.sinks import store
from tests.chaos.verdict import Arrival


@dataclass(slots=True)
class Inbox:
    """The sink's file; what was read once is not read again."""

    file: Path
    _arrivals: list[Arrival] = field(default_factory=list)
    _keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _last: int = 0

    def read(self) -> Sequence[Arrival]:
        """Return all that was accepted, the oldest first."""
        for one in store.list_webhooks(self.file, after=self._last):
            self._last = one.number
            body = json.loads(one.body)
            assert body["delivery"] == one.idempotency_key, one
            assert body.get("count", len(body["events"])) == len(body["events"]), one
            arrival = Arrival(
                workspace=one.path.lstrip("/"),
                campaign=body["campaign"],
                recipient=body["profile"],
                events=tuple(body["events"]),
                key=one.idempotency_key,
            )
            self._arrivals.append(arrival)
            self._keys[arrival.workspace].add(arrival.key)
        return self._arrivals

    def messages(self, *workspaces: str) -> int:
        """Return how many different messages have arrived by now."""
        self.read()
        return sum(len(self._keys[one]) for one in workspaces)
