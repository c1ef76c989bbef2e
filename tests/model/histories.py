"""Histories drawn by chance from a seed: one campaign, a few people, and what happens to them."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# Close to the nights on which clocks are set, in either hemisphere.
BEGINS = (
    datetime(2026, 3, 28, 6, tzinfo=UTC),
    datetime(2026, 10, 24, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 6, tzinfo=UTC),
    datetime(2026, 6, 10, 6, tzinfo=UTC),
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "")
PEOPLE = ("ana", "bob", "eva")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The campaign: what of the engine the histories are about."""

    filter_above: int | None = None
    delay: int = 0
    """Minutes."""
    stops: bool = False
    """`bought` stops it."""
    stops_same: bool = False
    """`returned` of the same order stops it."""
    debounces: bool = False
    again_after: int | None = None
    """Minutes; None: once."""
    lives: int = 72 * 60
    """Minutes."""
    starts: datetime | None = None
    ends: datetime | None = None
    local_time: tuple[int, int] | None = None
    opens: tuple[int, int] | None = None
    """Hours from and to which it may go out."""
    gathers: int = 0
    """Minutes of a digest's window; 0: it gathers nothing."""
    large_above: int | None = None
    """Beyond that another variant."""
    cap: tuple[int, int, bool] | None = None
    """So many in so many minutes; whether one too many waits."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that happens."""

    time: datetime
    what: str
    """Type of an event, or `pause`, `launch`, `zone`, `merge`, `again` (a repeat)."""
    who: str = ""
    id: str = ""
    occurred: datetime | None = None
    value: int = 0
    order: str = ""
    word: str = ""
    """A zone, or who is merged."""


@dataclass(frozen=True, kw_only=True)
class History:
    """All of it."""

    seed: int
    begin: datetime
    rules: Rules
    zones: dict[str, str]
    steps: tuple[Step, ...] = field(default=())

    def without(self, index: int) -> "History":
        """Return the same without one step."""
        return replace(self, steps=self.steps[:index] + self.steps[index + 1 :])

    def told(self) -> str:
        """Write it for people."""
        lines = [f"seed {self.seed}", f"{self.rules}", f"{self.zones}"]
        return "\n".join([*lines, *(f"  {step}" for step in self.steps)])


def draw(seed: int) -> History:
    """Return the history of a seed: always the same."""
    chance = Random(seed)
    begin = chance.choice(BEGINS)
    rules = _rules(chance, begin)
    zones = {who: chance.choice(ZONES) for who in PEOPLE}
    return History(
        seed=seed, begin=begin, rules=rules, zones=zones, steps=_steps(chance, begin, rules)
    )


def _rules(chance: Random, begin: datetime) -> Rules:
    gathers = chance.choice((0, 0, 0, 30, 240))
    bare = Rules(
        filter_above=chance.choice((None, 50)),
        stops=chance.random() < 0.6,
        stops_same=chance.random() < 0.4,
        again_after=chance.choice((None, 0, 0, 120)),
        lives=chance.choice((72 * 60, 72 * 60, 600, 61)),
        starts=begin + chance.choice((1, 3)) * HOUR if chance.random() < 0.15 else None,
        ends=begin + chance.choice((10, 40)) * HOUR if chance.random() < 0.2 else None,
        large_above=chance.choice((None, 70)),
        gathers=gathers,
    )
    if gathers:
        return replace(bare, stops=False, stops_same=False)
    return replace(
        bare,
        delay=chance.choice((0, 30, 30, 90, 600)),
        debounces=chance.random() < 0.35,
        local_time=chance.choice((None, None, (9, 0), (2, 30), (0, 0))),
        opens=chance.choice((None, None, (9, 21), (22, 6))),
        cap=chance.choice((None, None, (1, 120, False), (1, 120, True), (2, 600, True))),
    )


def _steps(chance: Random, begin: datetime, rules: Rules) -> tuple[Step, ...]:
    steps: list[Step] = []
    now = begin
    for number in range(chance.randint(3, 14)):
        gap = chance.choice((0, 1, 5, 20, 29, 30, 31, 60, 240, 700))
        # No two at one second, so that nothing hangs on an order that nobody promises.
        now = now.replace(second=0) + gap * MINUTE + timedelta(seconds=number + 1)
        steps.append(_step(chance, now, number, steps, rules))
    return tuple(steps)


def _step(chance: Random, now: datetime, number: int, before: list[Step], rules: Rules) -> Step:
    who = chance.choice(PEOPLE)
    drawn = chance.random()
    if drawn < 0.06:
        return Step(time=now, what=chance.choice(("pause", "launch")))
    if drawn < 0.1:
        return Step(time=now, what="zone", who=who, word=chance.choice(ZONES[:-1]))
    if drawn < 0.15 and not (rules.debounces or rules.gathers or rules.again_after):
        other = chance.choice([one for one in PEOPLE if one != who])
        return Step(time=now, what="merge", who=who, word=other)
    earlier = [one for one in before if one.id]
    if drawn < 0.2 and earlier:
        return replace(chance.choice(earlier), time=now, what="again")
    what = chance.choice(("filled", "filled", "filled", "bought", "returned"))
    late = chance.choice((0, 0, 0, 0, 10, 59, 61, 35, 600))
    return Step(
        time=now,
        what="unfilled" if rules.gathers and what == "returned" else what,
        who=who,
        id=f"e{number}",
        occurred=now - late * MINUTE,
        value=chance.choice((10, 60, 80)),
        order=chance.choice(("o1", "o2")),
    )
