"""Makes sure that a report may be looked at any time without finding what is not there."""

from collections.abc import Sequence
from math import exp, log
from random import Random

import pytest

from services.trigger.model import Arm, Sample
from services.trigger.rules import judge_goal, lift_evidence, ratio_alarm
from services.trigger.rules.experiments import ratio_evidence

TWO = (Arm("default", 1), Arm("picture", 1))
THREE = (Arm("default", 2), Arm("picture", 1), Arm("holdout", 1))
# One chance in twenty, for two arms that might win: forty times the evidence.
NEEDED = log(40)


def split_of(arms: Sequence[Arm], salt: str = "s") -> str:
    return "|".join((salt, *(f"{arm.variant}={arm.weight}" for arm in arms)))


def samples(
    arms: Sequence[Arm], profiles: Sequence[int], converted: Sequence[int], salt: str = "s"
) -> list[Sample]:
    return [
        Sample(split_of(arms, salt), arm.variant, many, {"bought": some})
        for arm, many, some in zip(arms, profiles, converted, strict=True)
    ]


@pytest.mark.parametrize(
    ("counts", "weights", "evidence"),
    # As ssrm-test 0.1.5, by the authors of the paper, reckons with a concentration of 1,000.
    [
        ([5200, 4800], [1, 1], 6.075817651581019),
        ([510, 490], [1, 1], -0.24664690434201475),
        ([3000, 3000, 4000], [3, 3, 4], -2.3985139594151406),
        ([400, 300, 200, 150], [4, 3, 2, 1], 4.02617707515401),
        ([52000, 48000], [1, 1], 76.92161679104902),
    ],
)
def test_the_evidence_against_the_weights_is_that_of_the_paper(
    counts: list[int], weights: list[int], evidence: float
) -> None:
    assert ratio_evidence(counts, weights) == pytest.approx(evidence, rel=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.9])
@pytest.mark.parametrize("seen", [(0, 0), (3, 1), (40, 60), (500, 400)])
def test_the_evidence_neither_grows_nor_shrinks_by_chance(
    share: float, seen: tuple[int, int]
) -> None:
    converted, others = seen
    next_is = share * exp(lift_evidence(converted + 1, others, share))
    next_is_not = (1 - share) * exp(lift_evidence(converted, others + 1, share))

    assert next_is + next_is_not == pytest.approx(exp(lift_evidence(converted, others, share)))


def test_who_looks_after_every_conversion_finds_a_false_winner_once_in_twenty_at_most() -> None:
    # Not drawn but reckoned: the chance of each way that 2,000 conversions may go.
    chances, wrong = {0: 1.0}, 0.0
    reach = 0
    for count in range(1, 2001):
        after: dict[int, float] = {}
        for ahead, chance in chances.items():
            for one in (ahead, ahead + 1):
                after[one] = after.get(one, 0.0) + chance / 2
        while lift_evidence(reach, count - reach, 0.5) < NEEDED and reach <= count:
            reach += 1
        found = [one for one in after if one >= reach or count - one >= reach]
        wrong += sum(after.pop(one) for one in found)
        chances = after

    assert 0.005 < wrong <= 0.05


def test_of_arms_that_are_alike_a_winner_is_rare_however_often_one_looks() -> None:
    random = Random(4)
    runs = 60
    false_winners = sum(_wins(random, [0.1, 0.1, 0.1], people=1500) for _ in range(runs))

    assert false_winners <= runs * 0.05


def _wins(random: Random, rates: Sequence[float], people: int) -> bool:
    """Say whether anybody is called the winner while people come, looked at after each conversion.

    Who converts does so some time later, when others have come.
    """
    sizes, converted = [0] * len(THREE), [0] * len(THREE)
    waiting: list[int] = []
    for _ in range(people):
        arm = random.choices(range(len(THREE)), [one.weight for one in THREE])[0]
        sizes[arm] += 1
        if random.random() < rates[arm]:
            waiting.append(arm)
        if waiting and random.random() < 0.2:
            converted[waiting.pop(random.randrange(len(waiting)))] += 1
            verdict = judge_goal("bought", THREE, samples(THREE, sizes, converted), alarm=False)
            if verdict.variant:
                return True
    return False


def test_a_clear_winner_is_found() -> None:
    random = Random(4)
    found = 0
    for _ in range(20):
        converted = [sum(random.random() < rate for _ in range(8000)) for rate in (0.10, 0.13)]
        verdict = judge_goal("bought", TWO, samples(TWO, [8000, 8000], converted), alarm=False)
        assert verdict.variant in {"", "picture"}
        found += verdict.variant == "picture"

    assert found >= 18


def test_what_wins_has_to_beat_every_other() -> None:
    close = samples(THREE, [20_000, 10_000, 10_000], [2000, 1300, 1290])

    assert judge_goal("bought", THREE, close, alarm=False).variant == ""
    clear = samples(THREE, [20_000, 10_000, 10_000], [2000, 1300, 1000])
    assert judge_goal("bought", THREE, clear, alarm=False).variant == "picture"


def test_the_holdout_may_win() -> None:
    better = samples(THREE, [20_000, 10_000, 10_000], [2000, 1000, 1300])

    assert judge_goal("bought", THREE, better, alarm=False).variant == "holdout"


@pytest.mark.parametrize(
    ("profiles", "converted", "alarm", "said"),
    [
        ((99, 5000), (0, 900), False, "too few people"),
        ((5000, 5000), (0, 19), False, "too few conversions"),
        ((5000, 5000), (300, 500), True, "the shares are not"),
        ((5000, 5000), (300, 500), False, "evidence for picture"),
    ],
)
def test_a_verdict_says_what_it_rests_on(
    profiles: tuple[int, int], converted: tuple[int, int], alarm: bool, said: str
) -> None:
    verdict = judge_goal("bought", TWO, samples(TWO, profiles, converted), alarm=alarm)

    assert said in verdict.detail
    assert "picture" in verdict.detail


def test_without_weights_nothing_is_compared() -> None:
    verdict = judge_goal("bought", (), [], alarm=False)

    assert (verdict.variant, "by weight" in verdict.detail) == ("", True)


def test_people_of_other_weights_are_counted_apart() -> None:
    before = (Arm("default", 9), Arm("picture", 1))
    # Nine to one, then one to one: together it looks as if the picture did worse, or better.
    mixed = [
        *samples(before, [9000, 1000], [900, 100], "a"),
        *samples(TWO, [1000, 1000], [200, 200], "b"),
    ]

    assert judge_goal("bought", TWO, mixed, alarm=ratio_alarm(mixed)).variant == ""
    assert not ratio_alarm(mixed)


def test_shares_that_are_off_raise_the_alarm_and_those_of_chance_rarely() -> None:
    assert ratio_alarm(samples(TWO, [5000, 4500], [0, 0]))
    assert ratio_alarm(samples(TWO, [600, 0], [0, 0])[:1])
    random, runs, alarms = Random(4), 40, 0
    for _ in range(runs):
        counts = [0, 0]
        for _ in range(1500):
            counts[random.random() < 0.5] += 1
            if ratio_evidence(counts, [1, 1]) >= log(100):
                alarms += 1
                break

    assert alarms <= 1
