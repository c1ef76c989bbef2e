"""Who gets which message of a campaign?

Whom a filter takes gets that variant. Everybody else who shares by weight gets an arm by a hash of
the campaign's salt and the id she goes by, and keeps the first one that she was given: so a new
id, by which she goes after she was identified or united, a new weight or a new entry give her no
other. Of people who were given two arms before they turned out to be one, the earlier counts.

Arms are assigned where a passage begins, after the gates that are asked alike of everybody
(lateness, filter, exceptions so far, re-entry) and before all that may depend on what is sent:
waiting, exceptions from there on, the filter at the message's time, windows, consent, caps,
delivery. Whatever stops the message then, the passage counts for its arm (intent to treat).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b

from services.trigger.model import (
    DEFAULT,
    HOLDOUT,
    Arm,
    Assignment,
    Enrollment,
    EnrollmentState,
    Gate,
    Message,
    Person,
    Plan,
    Variant,
    Variants,
)
from services.trigger.rules.gates import passed, refused

_HASH_BYTES = 8
_HASHES = 1 << 8 * _HASH_BYTES
_SPLIT_BYTES = 6
_PERCENT = 100


def make_variants(
    variants: Sequence[tuple[Variant, int]], *, default_weight: int, holdout_weight: int, salt: str
) -> Variants | None:
    """Return how a campaign tells people apart; None: it does not.

    Args:
        variants: each with its weight; 0 for those with a filter.
        default_weight: of the campaign's own message.
        holdout_weight: of nothing at all.
        salt: changes who gets which.
    """
    weighted = [(DEFAULT, default_weight), *((one.id, weight) for one, weight in variants)]
    arms = tuple(
        Arm(variant, weight) for variant, weight in (*weighted, (HOLDOUT, holdout_weight)) if weight
    )
    if all(arm.variant == DEFAULT for arm in arms):
        arms = ()
    if not variants and not arms:
        return None
    return Variants(tuple(one for one, _ in variants), arms, salt, _split_of(salt, arms))


def arms_of(split: str) -> tuple[Arm, ...]:
    """Return the arms that a split names."""
    pairs = (arm.rpartition("=") for arm in split.split("|")[1:])
    return tuple(Arm(variant, int(weight)) for variant, _, weight in pairs)


def _split_of(salt: str, arms: Sequence[Arm]) -> str:
    named = blake2b(salt.encode(), digest_size=_SPLIT_BYTES).hexdigest()
    return "|".join((named, *(f"{arm.variant}={arm.weight}" for arm in arms)))


def drawn(variants: Variants, profile: str) -> str:
    """Return the arm that the hash gives somebody; the default where nothing is shared out."""
    if not variants.arms:
        return DEFAULT
    place = _hash(variants.salt, profile) * sum(arm.weight for arm in variants.arms) // _HASHES
    for arm in variants.arms:
        if place < arm.weight:
            break
        place -= arm.weight
    return arm.variant


def assign(
    plan: Plan, passage: Enrollment, person: Person, *, earlier: str = "", now: datetime
) -> Enrollment:
    """Return a passage that begins with its arm, and with the message of that.

    Who is held out leaves at once.

    Args:
        plan: the campaign.
        passage: that passed all gates of its entry.
        person: its recipient.
        earlier: the arm that she was given first by hash; empty: none yet. One that is no more
            is as none.
        now: when.
    """
    variants = plan.variants
    if variants is None:
        return passage
    variant = _taken(variants, passage, person, now)
    if not variant:
        arms = {arm.variant for arm in variants.arms}
        variant = earlier if earlier in arms else drawn(variants, passage.key.profile)
    if variant == HOLDOUT:
        gate = refused("holdout", "one of those who get nothing, to compare with", now)
        return replace(
            passage,
            variant=variant,
            state=EnrollmentState.EXITED,
            gates=(*passage.gates, gate),
            release_time=None,
        )
    message, _ = message_of(plan, variant, now=now)
    return replace(passage, variant=variant, channel=message.channel, template=message.template)


def assignment_of(plan: Plan, passage: Enrollment) -> Assignment | None:
    """Return what is to be remembered of a passage that begins; None: no hash gave its arm."""
    variants = plan.variants
    if variants is None or all(arm.variant != passage.variant for arm in variants.arms):
        return None
    return Assignment(
        passage.key, passage.member, passage.variant, variants.split, passage.decide_time
    )


def message_of(plan: Plan, variant: str, *, now: datetime) -> tuple[Message, Gate | None]:
    """Return what is sent to who has a variant, and what to put on record if that is no more."""
    if variant in ("", DEFAULT):
        return plan.message, None
    found = plan.variants.get(variant) if plan.variants is not None else None
    if found is None:
        return plan.message, passed("variant", f"{variant} is no more: the default message", now)
    return found.message, None


def workspace_holdout(plan: Plan, profile: str) -> tuple[str, bool, str]:
    """Say whether a campaign may reach somebody at all, by the holdout of the workspace.

    By the id she goes by: who is identified or united is held out as her new id is.
    """
    if plan.critical or plan.ignores_holdout:
        return "holdout", True, "not asked of this campaign"
    salt = f"{plan.workspace}\0{plan.settings.holdout_salt}"
    place = _hash(salt, profile) / _HASHES * _PERCENT
    if place < plan.settings.holdout_percent:
        return "holdout", False, f"workspace holdout of {plan.settings.holdout_percent:g} %"
    return "holdout", True, "not in the workspace holdout"


def _taken(variants: Variants, passage: Enrollment, person: Person, now: datetime) -> str:
    """Return the first variant whose filter holds; what is missing makes it not hold."""
    for one in variants.variants:
        if one.filter is not None and one.filter(passage.event, person, None, now).passed:
            return one.id
    return ""


def _hash(salt: str, profile: str) -> int:
    # For ever: another one gives people other arms.
    named = f"{salt}\0{profile}".encode()
    return int.from_bytes(blake2b(named, digest_size=_HASH_BYTES).digest())
