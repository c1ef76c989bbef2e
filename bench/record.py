"""Collects what the runs gave and says which targets were met."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from bench.load.spread import Spread, spread


class Target(msgspec.Struct, frozen=True):
    """What a number should be."""

    key: str
    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        """Say whether the value is good enough."""
        compare: Callable[[float, float], bool] = (
            operator.ge if self.at_least is not None else operator.le
        )
        return compare(value, self.bound)

    @property
    def bound(self) -> float:
        """The number to compare with."""
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None
        return bound


TARGETS = (
    Target("ingest.ratio_to_bare", at_least=0.5),
    Target("e2e.cpu_ratio_to_baseline", at_least=10),
    Target("e2e.ratio_to_baseline", at_least=20),
    Target("latency.p50_ms", at_most=40),
    Target("latency.p99_ms", at_most=250),
    Target("tracing.overhead_ratio", at_most=0.15),
    Target("memory.idle_mb", at_most=600),
    Target("memory.loaded_mb", at_most=1200),
    Target("profile.observe_ratio_to_bare_copy", at_least=0.25),
    Target("profile.segment_count_ratio_to_by_hand", at_most=3),
    Target("trigger.judged_ratio_1000_to_1", at_most=1.5),
)

# What each number of the results means; written into them, so that they can be read alone.
MEANINGS: Mapping[str, str] = {
    "ingest.events_per_second": "events accepted by ingest alone (its process and Redis), batches of 500, durable",
    "ingest.ratio_to_bare": "ingest's events/s over those of a bare server that parses the same batches and appends the"
    " same records: every event touched, one entry a partition (`bench.bare partitioned`), same Redis settings",
    "ingest.ratio_to_bare_batch": "the same over a bare server that touches no event and appends one entry a batch",
    "ingest.mesh_cpu_us_per_event": "CPU of ingest and Redis an event; beside `bare_cpu_us_per_event` it compares them where"
    " the machine is busy with other things",
    "e2e.events_per_second": "one event in ten triggers: events from the first sent to the last message at the sink",
    "e2e.ratio_to_baseline": "events/s of the mesh over those of the baseline, one event in ten triggers",
    "e2e.messages_per_second": "every event triggers: messages at the sink a second",
    "e2e.cpu_ms_per_message": "every event triggers: CPU of all processes, PostgreSQL and Redis included, a message",
    "e2e.cpu_ratio_to_baseline": "messages per CPU-second of the mesh over those of the baseline, every event triggers",
    "latency.p50_ms": "from an event's acknowledgement to its message at the sink, at half of the full load",
    "latency.p99_ms": "the same, 99th percentile",
    "tracing.overhead_ratio": "share of the end-to-end events/s that tracing at its default costs",
    "memory.idle_mb": "proportional set size of all processes, PostgreSQL and Redis included, before any event",
    "memory.loaded_mb": "the highest during a full load",
    "profile.observe_events_per_second": "events written to history and profiles by ObserveEvents, profile and its PostgreSQL"
    " alone: batches of 500 in two lanes, every commit synced, one event in ten answered with a standing",
    "profile.observe_ratio_to_bare_copy": "the same over COPY of the same rows into a table with their key (event_uid) and"
    " nothing else, in as many lanes and transactions, on the same server",
    "profile.observe_ratio_to_bare_copy_without_key": "the same with a table that has no key either",
    "profile.segment_count_1m_seconds": "CountSegmentMembers over a million profiles, two conditions on attributes",
    "profile.segment_count_ratio_to_by_hand": "the same over the predicate as one writes it in SQL by hand, on the same server",
    "profile.fanout_profiles_per_second": "StreamRelated over 200,000 followers, all of them to the client",
    "profile.fanout_filtered_profiles_per_second": "the same with a filter on the follower's profile: followers looked at a second",
    "trigger.judged_1_events_per_second": "events judged by trigger alone with one active campaign, one in ten begins a passage:"
    " from the log to the commit, and on to delivery; peers answer at once, PostgreSQL and Redis sync",
    "trigger.judged_100_events_per_second": "the same events with 100 active campaigns, each begun by an event name of its own:"
    " one in ten begins a passage of one of them, in turn",
    "trigger.judged_1000_events_per_second": "the same with 1,000",
    "trigger.judged_1_cpu_us_per_event": "CPU of trigger's process for it, without its peers' and without PostgreSQL; likewise"
    " with 100 and 1,000",
    "trigger.judged_ratio_1000_to_1": "time an event takes with 1,000 campaigns over that with one, in turn in the same round",
    "trigger.timers_per_second": "10,000 passages that are due at once: fired, judged again and handed to delivery, settled",
    "trigger.broadcast_recipients_per_second": "a broadcast to 50,000 people, whom profile's own process streams: each judged,"
    " her passage committed, released, handed to delivery, settled",
}


@dataclass(slots=True)
class Record:
    """What was measured, by name, once a round."""

    values: dict[str, list[float]] = field(default_factory=dict)
    profiles: dict[str, dict[str, float]] = field(default_factory=dict)
    """Where the CPU went: microseconds an event (or a message) by process, of the last round."""
    failures: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def add(self, key: str, value: float) -> None:
        """Note one round's number."""
        self.values.setdefault(key, []).append(value)

    def spreads(self) -> dict[str, Spread]:
        """Return median and spread of every number."""
        return {key: spread(values) for key, values in sorted(self.values.items())}

    def missed(self) -> list[str]:
        """Return a line for every target that its median missed."""
        spreads = self.spreads()
        return [
            f"{target.key} is {spreads[target.key].median:.3g}, wanted"
            f" {'at least' if target.at_least is not None else 'at most'} {target.bound:g}"
            for target in TARGETS
            if target.key in spreads and not target.met_by(spreads[target.key].median)
        ]


def nested(spreads: Mapping[str, Spread]) -> dict[str, dict[str, float]]:
    """Turn `part.name` into `{part: {name: median}}`."""
    parts: dict[str, dict[str, float]] = {}
    for key, value in spreads.items():
        part, name = key.split(".", 1)
        parts.setdefault(part, {})[name] = round(value.median, 4)
    return parts
