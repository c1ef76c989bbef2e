"""What should come of a history, reckoned as simply as can be.

Nothing of the services is imported: people are dictionaries, clocks are looked at minute by minute,
and what has been sent is counted anew for each question.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tests.model.histories import MINUTE, History, Step

LATE = timedelta(hours=1)


class Sent(NamedTuple):
    """A message."""

    time: datetime
    who: str
    event: str
    variant: str
    gathered: int
    """Events of its digest; 0: it is none."""


@dataclass
class Waiting:
    """Somebody who waits for her message."""

    who: str
    origin: str
    step: Step
    entered: datetime
    due: datetime
    wake: datetime | None
    variant: str
    items: list[Step] = field(default_factory=list)
    gathers: bool = False
    over: bool = False
    zone: ZoneInfo = ZoneInfo("UTC")  # noqa: RUF009 — a value


class Reference:
    """Goes through a history."""

    def __init__(self, history: History) -> None:
        self.rules = history.rules
        self.history = history
        self.now = history.begin
        self.active = True
        self.zones = {who: (history.begin, zone) for who, zone in history.zones.items()}
        self.names = {who: who for who in self.zones}
        self.seen: dict[str, Step] = {}
        self.heard: list[Step] = []
        self.all: list[Waiting] = []
        self.sent: list[Sent] = []
        self.undone: list[Step] = []

    def run(self) -> list[Sent]:
        """Return the messages, in order."""
        for step in self.history.steps:
            self.pass_time(step.time)
            self.now = step.time
            self.happen(step)
        self.pass_time(self.now + timedelta(days=10))
        return self.sent

    def pass_time(self, until: datetime) -> None:
        while True:
            due = [one for one in self.all if not one.over and one.wake and one.wake < until]
            if not due:
                return
            first = min(due, key=lambda one: (one.wake, one.step.time))
            assert first.wake is not None
            self.now = max(self.now, first.wake)
            self.fire(first)

    # What happens.

    def happen(self, step: Step) -> None:
        match step.what:
            case "pause":
                self.active = False
            case "launch":
                self.active = True
                for one in self.all:
                    if one.wake is None and not one.over:
                        one.wake = max(one.due, self.now)
            case "zone":
                # What she says already, under this id and on the whole, is no news.
                told = self.zone(self.names[step.who]).key
                if (self.zones[step.who][1], told) != (step.word, step.word):
                    self.zones[step.who] = (self.now, step.word)
            case "merge":
                self.merge(step.who, step.word)
            case "again":
                pass
            case _:
                self.hear(step)

    def hear(self, step: Step) -> None:
        self.heard.append(step)
        who = self.names[step.who]
        restarted: list[Waiting] = []
        for one in list(self.all):
            if one.who == who and not one.over and not one.gathers and self.stops(one, step):
                one.over = True
                if step.what == "filled" and self.fits(step):
                    restarted.append(one)
        if step.what == "unfilled" and self.rules.gathers:
            self.undo(step, who)
        if restarted:
            entered = min(one.entered for one in restarted)
            self.enter(step, who, entered, at_once=False)
        elif step.what == "filled":
            self.begin(step, who)

    def stops(self, one: Waiting, step: Step) -> bool:
        assert step.occurred is not None
        assert one.step.occurred is not None
        if step.occurred < one.step.occurred or self.now >= self.expires(one.due):
            return False
        return (
            (step.what == "bought" and self.rules.stops)
            or (step.what == "returned" and self.rules.stops_same and step.order == one.step.order)
            or (step.what == "filled" and self.rules.debounces)
        )

    def begin(self, step: Step, who: str) -> None:
        rules, occurred = self.rules, step.occurred
        assert occurred is not None
        if not self.active:
            return
        if rules.starts and occurred < rules.starts:
            return
        if rules.ends and self.now >= rules.ends:
            return
        if self.now - occurred > LATE:
            return
        if not self.fits(step) or self.bought_since(who, occurred):
            return
        hers = [one for one in self.all if one.who == who]
        if rules.debounces and any(
            not one.over and one.step.occurred and one.step.occurred > occurred for one in hers
        ):
            return
        if rules.gathers:
            self.gather(step, who)
            return
        if hers:
            last = max(one.entered for one in hers)
            if rules.again_after is None or (
                rules.again_after and occurred < last + rules.again_after * MINUTE
            ):
                return
        self.enter(step, who, occurred, at_once=True)

    def enter(self, step: Step, who: str, entered: datetime, *, at_once: bool) -> None:
        due = max(self.due(step, who), self.now)
        one = Waiting(who, step.who, step, entered, due, due, self.variant(step))
        one.zone = self.zone(who)
        self.all.append(one)
        waits = self.rules.delay or self.rules.local_time
        excepted = self.rules.stops or self.rules.stops_same or self.rules.debounces
        if at_once and due <= self.now and not (waits and excepted):
            opens = self.opening(who)
            if opens == self.now:
                self.send(one)
            elif opens < self.expires(due):
                one.wake = opens

    # What is gathered.

    def gather(self, step: Step, who: str) -> None:
        for undo in self.undone:
            if (
                self.names[undo.who] == who
                and undo.who == step.who
                and undo.order == step.order
                and step.occurred < undo.occurred  # type: ignore[operator]
            ):
                return
        open_ = [
            one
            for one in self.all
            if one.who == who and not one.over and self.now < self.expires(one.due)
        ]
        if open_:
            open_[0].items.append(step)
            return
        due = self.now + self.rules.gathers * MINUTE
        variant = self.variant(step)
        one = Waiting(who, step.who, step, step.occurred, due, due, variant, [step], True)  # type: ignore[arg-type]
        self.all.append(one)

    def undo(self, step: Step, who: str) -> None:
        self.undone.append(step)
        for one in self.all:
            if one.who == who and not one.over:
                one.items = [
                    item
                    for item in one.items
                    if not (
                        item.who == step.who
                        and item.order == step.order
                        and item.occurred <= step.occurred  # type: ignore[operator]
                    )
                ]

    # When the time has come.

    def fire(self, one: Waiting) -> None:
        rules = self.rules
        expires = self.expires(one.due)
        if not self.active and self.now < expires:
            one.wake = None
            return
        if (rules.ends and self.now >= rules.ends) or self.now >= expires:
            one.over = True
            return
        if self.missed(one):
            one.over = True
            return
        if rules.local_time and not one.gathers:
            due = self.shown_to_her(one)
            if due > self.now:
                if rules.ends and due >= rules.ends:
                    one.over = True
                    return
                one.due = one.wake = due
                one.zone = self.zone(one.who)
                return
        opens = self.opening(one.who)
        if opens != self.now:
            one.over = opens >= expires
            one.wake = opens
            return
        if one.gathers and not one.items:
            one.over = True
            return
        occurred = max(item.occurred for item in one.items) if one.gathers else one.step.occurred  # type: ignore[type-var]
        if self.bought_since(one.who, occurred):  # type: ignore[arg-type]
            one.over = True
            return
        self.send(one)

    def send(self, one: Waiting) -> None:
        if self.rules.cap:
            limit, minutes, waits = self.rules.cap
            times = sorted(sent.time for sent in self.sent if self.names[sent.who] == one.who)
            counted = [time for time in times if time > self.now - minutes * MINUTE]
            if len(counted) >= limit:
                free = counted[-limit] + minutes * MINUTE
                one.over = not waits or free >= self.expires(one.due)
                one.wake = free
                return
        one.over = True
        count = len(one.items) if one.gathers else 0
        self.sent.append(Sent(self.now, one.who, one.step.id, one.variant, count))

    # What is asked.

    def missed(self, one: Waiting) -> bool:
        """Say whether she did what stops it before her message waited.

        Of one id it is known by type and time alone; of several, what she did is looked up.
        """
        several = sum(name == one.who for name in self.names.values()) > 1
        return (
            several
            and self.rules.stops_same
            and any(
                self.names[step.who] == one.who and self.stops(one, step) for step in self.heard
            )
        )

    def fits(self, step: Step) -> bool:
        return self.rules.filter_above is None or step.value > self.rules.filter_above

    def variant(self, step: Step) -> str:
        large = self.rules.large_above is not None and step.value > self.rules.large_above
        return "large" if large else "default"

    def bought_since(self, who: str, occurred: datetime) -> bool:
        return self.rules.stops and any(
            one.what == "bought" and self.names[one.who] == who and one.occurred > occurred  # type: ignore[operator]
            for one in self.heard
        )

    def expires(self, due: datetime) -> datetime:
        expires = due + self.rules.lives * MINUTE
        return min(expires, self.rules.ends) if self.rules.ends else expires

    def zone(self, who: str) -> ZoneInfo:
        """Return the zone that was said last under any id of hers; at one time, of the greatest."""
        said = [
            (time, member, zone)
            for member, (time, zone) in self.zones.items()
            if self.names[member] == who and zone
        ]
        return ZoneInfo(max(said)[2] if said else "UTC")

    def due(self, step: Step, who: str) -> datetime:
        assert step.occurred is not None
        base = step.occurred + self.rules.delay * MINUTE
        return self.showing(base, self.zone(who)) if self.rules.local_time else base

    def shown_to_her(self, one: Waiting) -> datetime:
        """Return when her clock shows the time, never before it was to by the clock she had."""
        zone = self.zone(one.who)
        if one.due.astimezone(zone).utcoffset() == one.due.astimezone(one.zone).utcoffset():
            return one.due
        return self.showing(one.due, zone)

    def showing(self, since: datetime, zone: ZoneInfo) -> datetime:
        wanted = self.rules.local_time
        assert wanted is not None
        moment = since if since.second == 0 else since.replace(second=0) + MINUTE
        while True:
            local = moment.astimezone(zone)
            shown = (local.hour, local.minute)
            if shown == wanted and not local.fold:
                return moment
            before = (moment - MINUTE).astimezone(zone)
            skips = local.utcoffset() > before.utcoffset()  # type: ignore[operator]
            if skips and (before.hour, before.minute) < wanted < shown:
                return moment
            moment += MINUTE

    def opening(self, who: str) -> datetime:
        if self.rules.opens is None:
            return self.now
        begin, end = self.rules.opens
        zone, moment = self.zone(who), self.now
        while True:
            hour = moment.astimezone(zone).hour
            inside = begin <= hour < end if begin < end else hour >= begin or hour < end
            if inside:
                return moment
            moment = moment.replace(second=0) + MINUTE

    # Two who are one.

    def merge(self, into: str, other: str) -> None:
        name, gone = self.names[into], self.names[other]
        if name == gone:
            return
        mine = {who for who, known in self.names.items() if known == name}
        for who, known in self.names.items():
            if known == gone:
                self.names[who] = name
        hers = [one for one in self.all if one.who in (name, gone)]
        for one in hers:
            one.who = name
        for one in hers:
            others = [
                step
                for step in self.heard
                if self.names[step.who] == name and (step.who in mine) != (one.origin in mine)
            ]
            if not one.over and any(self.stops(one, step) for step in others):
                one.over = True
        if self.rules.again_after is None:
            self.once(hers, mine)

    def once(self, hers: list[Waiting], mine: set[str]) -> None:
        hers.sort(key=lambda one: (one.entered, one.step.time))
        for place, one in enumerate(hers):
            before = [
                other for other in hers[:place] if (other.origin in mine) != (one.origin in mine)
            ]
            if before and not one.over:
                one.over = True
                self.all.remove(one)
        # Nor does she get it again for what came first, where she has it for what came later.
        told = {sent.event for sent in self.sent}
        for one in hers:
            one.over |= any(
                other.step.id in told
                and other.entered >= one.entered
                and (other.origin in mine) != (one.origin in mine)
                for other in hers
            )
