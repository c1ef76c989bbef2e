"""Which variant does best, and are the shares what they should be?

Both are asked whenever somebody looks at a report, and may be: the evidence for a claim is an
e-value, a non-negative supermartingale where the claim is false, so that the chance that it ever
reaches 1/a is at most a (Ville's inequality), however often it is looked at and whenever one
stops.

*Shares.* Each person is given an arm independently by the weights, so the counts of the arms are
multinomial. The e-value is the Bayes factor of a Dirichlet mixture around the weights against the
weights themselves: M. Lindon and A. Malek, Anytime-Valid Inference for Multinomial Count Data,
NeurIPS 2022 (arXiv:2011.03567).

*Winner.* Where the message makes no difference, arms have nothing to do with who converts and
when, so each next person of two arms who converts is of the one with the probability of its share
of the weights: the same paper's test of time-inhomogeneous conversions. That holds while others
have yet to convert, for rates of any size, and for whatever the hour or the season does to them.
The e-value of "this arm converts better" is a mixture of likelihood ratios over lifts from 1 % to
fourfold (H. Robbins, Statistical methods related to the law of the iterated logarithm, 1970); each
is a supermartingale also where the arm converts worse. To beat every other arm each of them must be
beaten, and any of k arms might win by chance: each pair is asked for k times the evidence.

Of each salt and set of weights that a campaign has had, people are counted apart and the evidence
is multiplied. Goals are asked one by one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import exp, lgamma, log

from services.trigger.model import Arm, Sample, Winner
from services.trigger.rules.variants import arms_of

_RATIO_ERROR = 0.01
_WINNER_ERROR = 0.05
# How sharply the mixture is gathered around the weights: it finds shares that are off by a few
# percent of themselves within some thousands of people.
_CONCENTRATION = 1000.0
# Tenfold evidence from a handful of people is possible, and convinces nobody.
_PROFILES_MIN = 100
_CONVERTED_MIN = 20
_LIFTS = tuple(1.01 * (4 / 1.01) ** (step / 24) for step in range(25))
# Beyond it a number says nothing to people, and exp has an end.
_EVIDENCE_SHOWN_MAX = log(1e6)


def ratio_alarm(samples: Iterable[Sample]) -> bool:
    """Say whether the shares differ from the weights by more than chance explains, at 99 %."""
    evidence = 0.0
    for arms, by_arm in _by_split(samples):
        counts = [by_arm[arm.variant].profiles if arm.variant in by_arm else 0 for arm in arms]
        evidence += ratio_evidence(counts, [arm.weight for arm in arms])
    return evidence >= -log(_RATIO_ERROR)


def ratio_evidence(counts: Sequence[int], weights: Sequence[int]) -> float:
    """Return the logarithm of the evidence that counts do not come from the weights."""
    total = sum(weights)
    evidence = lgamma(_CONCENTRATION) - lgamma(_CONCENTRATION + sum(counts))
    for count, weight in zip(counts, weights, strict=True):
        share = weight / total
        prior = _CONCENTRATION * share
        evidence += lgamma(prior + count) - lgamma(prior) - count * log(share)
    return evidence


def judge_goal(goal: str, arms: Sequence[Arm], samples: Sequence[Sample], *, alarm: bool) -> Winner:
    """Return which of the arms that are shared out does best for a goal, if it is known.

    Args:
        goal: its id.
        arms: those of the campaign as it is.
        samples: all that there are, of other weights and salts too.
        alarm: whether the shares are not what they should be.
    """
    if not arms:
        return Winner(goal, "", "no arms are shared out by weight: nothing to compare")
    sizes, converted = _totals(goal, samples)
    rates = ", ".join(_rate(arm.variant, sizes, converted) for arm in arms)
    if alarm:
        return Winner(goal, "", f"the shares are not those of the weights; {rates}")
    if any(sizes[arm.variant] < _PROFILES_MIN for arm in arms):
        return Winner(goal, "", f"too few people yet, {_PROFILES_MIN} are needed of each; {rates}")
    if sum(converted[arm.variant] for arm in arms) < _CONVERTED_MIN:
        return Winner(goal, "", f"too few conversions yet, {_CONVERTED_MIN} are needed; {rates}")
    best, evidence = max(
        ((arm.variant, _against_all(arm, arms, goal, samples)) for arm in arms),
        key=lambda one: one[1],
    )
    needed = len(arms) / _WINNER_ERROR
    shown = exp(min(evidence, _EVIDENCE_SHOWN_MAX))
    seen = f"{rates}; evidence for {best} is {shown:.3g} of the {needed:g} that 95 % asks for"
    return Winner(goal, best if evidence >= log(needed) else "", seen)


def lift_evidence(converted: int, others: int, share: float) -> float:
    """Return the logarithm of the evidence that an arm converts better than another one.

    Args:
        converted: people of the arm who did.
        others: people of the other one who did.
        share: of the arm, of what both weigh.
    """
    logs: list[float] = []
    for lift in _LIFTS:
        next_is = share * lift / (share * lift + 1 - share)
        logs.append(converted * log(next_is / share) + others * log((1 - next_is) / (1 - share)))
    most = max(logs)
    return most + log(sum(exp(one - most) for one in logs) / len(logs))


def _against_all(arm: Arm, arms: Sequence[Arm], goal: str, samples: Sequence[Sample]) -> float:
    return min(
        _against(arm.variant, other.variant, goal, samples) for other in arms if other is not arm
    )


def _against(one: str, other: str, goal: str, samples: Sequence[Sample]) -> float:
    evidence = 0.0
    for arms, by_arm in _by_split(samples):
        weights = {arm.variant: arm.weight for arm in arms}
        if one in weights and other in weights:
            evidence += lift_evidence(
                _converted(by_arm, one, goal),
                _converted(by_arm, other, goal),
                weights[one] / (weights[one] + weights[other]),
            )
    return evidence


def _converted(by_arm: Mapping[str, Sample], variant: str, goal: str) -> int:
    return by_arm[variant].converted.get(goal, 0) if variant in by_arm else 0


def _by_split(samples: Iterable[Sample]) -> list[tuple[tuple[Arm, ...], dict[str, Sample]]]:
    splits: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        splits[sample.split][sample.variant] = sample
    return [(arms_of(split), by_arm) for split, by_arm in sorted(splits.items())]


def _totals(goal: str, samples: Iterable[Sample]) -> tuple[dict[str, int], dict[str, int]]:
    sizes: dict[str, int] = defaultdict(int)
    converted: dict[str, int] = defaultdict(int)
    for sample in samples:
        sizes[sample.variant] += sample.profiles
        converted[sample.variant] += sample.converted.get(goal, 0)
    return sizes, converted


def _rate(variant: str, sizes: Mapping[str, int], converted: Mapping[str, int]) -> str:
    size = sizes[variant]
    rate = f"{converted[variant] / size:.2%}" if size else "none"
    return f"{variant} {rate} of {size}"
