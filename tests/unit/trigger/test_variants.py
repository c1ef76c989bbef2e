"""Makes sure of who gets which variant: shares, stickiness, filters, holdouts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.trigger.model import (
    DEFAULT,
    HOLDOUT,
    Enrollment,
    EnrollmentState,
    ExceptionRule,
    Key,
    Message,
    Occurrence,
    Person,
    Plan,
    Release,
    Seen,
    Settings,
    Variant,
)
from services.trigger.rules import (
    Ledger,
    drawn,
    judge_event,
    judge_release,
    make_book,
    make_variants,
    message_of,
    workspace_holdout,
)
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

PICTURE, PLAIN = Message(1, "picture"), Message(1, "plain")
IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
WEIGHTS = st.dictionaries(
    st.sampled_from([DEFAULT, "picture", "title", HOLDOUT]), st.integers(1, 100), min_size=2
)
PEOPLE = 20_000
# Of four arms; passed once in a thousand times by chance alone.
CHI_SQUARE_MAX = 16.3


def split_by(weights: dict[str, int], salt: str = "cart") -> Any:
    variants = [
        (Variant(one, PICTURE), weight)
        for one, weight in weights.items()
        if one not in (DEFAULT, HOLDOUT)
    ]
    return make_variants(
        variants,
        default_weight=weights.get(DEFAULT, 0),
        holdout_weight=weights.get(HOLDOUT, 0),
        salt=salt,
    )


def a_split(**weights: int) -> Plan:
    return a_plan(variants=split_by(weights), channel=1, template="cart", reentry_interval=ALWAYS)


ALWAYS = timedelta(0)


def value_above(limit: float) -> Any:
    def holds(event: Occurrence, _: Person, __: Occurrence | None, ___: object) -> Seen:
        value = event.properties.get("value")
        return Seen(passed=value is not None and value > limit, detail="")

    return holds


def entered(plan: Plan, *events: Occurrence, ledger: Ledger | None = None) -> list[Enrollment]:
    ledger = ledger or Ledger((), {})
    people: dict[str, Person] = {}
    for event in events:
        people.setdefault(event.profile, a_person(event.profile))
        judge_event(ledger, make_book([plan]), event, people, now=event.receive_time)
    return list(ledger.effects().enrollments)


@given(weights=WEIGHTS, people=st.lists(IDS, min_size=1, max_size=20))
def test_everybody_gets_one_of_the_arms_and_the_same_each_time(
    weights: dict[str, int], people: list[str]
) -> None:
    variants = split_by(weights)
    if variants is None or not variants.arms:
        return

    given_ = {one: drawn(variants, one) for one in people}

    assert set(given_.values()) <= set(weights)
    assert {one: drawn(variants, one) for one in reversed(people)} == given_


def test_shares_are_as_the_weights_say() -> None:
    weights = {DEFAULT: 4, "picture": 3, "title": 2, HOLDOUT: 1}

    counts = Counter(drawn(split_by(weights), f"person-{n}") for n in range(PEOPLE))

    expected = {arm: PEOPLE * weight / 10 for arm, weight in weights.items()}
    assert sum((counts[arm] - many) ** 2 / many for arm, many in expected.items()) < CHI_SQUARE_MAX


def test_campaigns_with_other_salts_draw_independently() -> None:
    weights = {DEFAULT: 1, "picture": 1}
    one, other = split_by(weights, "cart"), split_by(weights, "welcome")

    pairs = Counter((drawn(one, f"p{n}"), drawn(other, f"p{n}")) for n in range(PEOPLE))

    assert sum((many - PEOPLE / 4) ** 2 / (PEOPLE / 4) for many in pairs.values()) < CHI_SQUARE_MAX


def test_the_first_filter_that_holds_wins_and_what_is_missing_makes_it_not_hold() -> None:
    variants = make_variants(
        [
            (Variant("big", PICTURE, value_above(200)), 0),
            (Variant("fair", PLAIN, value_above(100)), 0),
        ],
        default_weight=0,
        holdout_weight=0,
        salt="cart",
    )
    plan = a_plan(variants=variants, channel=1, template="cart", reentry_interval=ALWAYS)

    passages = entered(
        plan,
        an_occurrence(event_id="a", value=300),
        an_occurrence(event_id="b", value=150),
        an_occurrence(event_id="c", value=50),
        an_occurrence(event_id="d"),
    )

    assert [(one.variant, one.template) for one in passages] == [
        ("big", "picture"),
        ("fair", "plain"),
        (DEFAULT, "cart"),
        (DEFAULT, "cart"),
    ]


def test_who_was_given_an_arm_keeps_it_when_weights_and_ids_change() -> None:
    plan = a_split(default=1, picture=1)
    moved = replace(plan, variants=split_by({DEFAULT: 1, "picture": 9999}))
    people = [f"p{n}" for n in range(50)]

    def again(who: str) -> tuple[str, str]:
        ledger = Ledger((), {})
        [first] = entered(plan, an_occurrence(event_id="a", profile=who), ledger=ledger)
        later = entered(moved, an_occurrence(event_id="b", profile=who), ledger=ledger)
        return first.variant, later[-1].variant

    assert all(first == later for first, later in map(again, people))


def test_an_arm_that_is_no_more_is_drawn_anew() -> None:
    plan = a_split(default=1, picture=1, title=1)
    without = replace(plan, variants=split_by({DEFAULT: 1, "picture": 1}))
    who = next(f"p{n}" for n in range(99) if drawn(plan.variants, f"p{n}") == "title")  # type: ignore[arg-type]
    ledger = Ledger((), {})

    entered(plan, an_occurrence(event_id="a", profile=who), ledger=ledger)
    later = entered(without, an_occurrence(event_id="b", profile=who), ledger=ledger)

    assert later[-1].variant == drawn(without.variants, who)  # type: ignore[arg-type]


def test_the_arm_is_on_record_once_for_each_person() -> None:
    plan = a_split(default=1, picture=1)
    ledger = Ledger((), {})

    entered(plan, an_occurrence(event_id="a"), an_occurrence(event_id="b"), ledger=ledger)

    [assignment] = ledger.effects().assignments
    assert assignment.key == Key("acme", "ana", "cart")


def test_who_is_held_out_enters_and_leaves_with_the_gate_on_record() -> None:
    [passage] = entered(a_split(holdout=1), an_occurrence())

    assert (passage.variant, passage.state) == (HOLDOUT, EnrollmentState.EXITED)
    assert (passage.gates[-1].name, passage.gates[-1].passed) == ("holdout", False)


def test_a_message_is_that_of_its_variant_as_it_is_when_it_goes_out() -> None:
    plan = replace(a_split(picture=1), delay=timedelta(hours=1))
    [waiting] = entered(plan, an_occurrence())
    changed = replace(
        plan,
        variants=make_variants(
            [(Variant("picture", Message(3, "new-picture")), 1)],
            default_weight=0,
            holdout_weight=0,
            salt="cart",
        ),
    )

    verdict = judge_release(changed, waiting, a_person(), now=NOW + timedelta(hours=1))

    assert isinstance(verdict, Release)
    assert (verdict.enrollment.channel, verdict.enrollment.template) == (3, "new-picture")


def test_a_variant_that_is_no_more_falls_to_the_default_with_a_gate_on_record() -> None:
    plan = replace(a_split(picture=1), delay=timedelta(hours=1))
    [waiting] = entered(plan, an_occurrence())

    verdict = judge_release(
        replace(plan, variants=None), waiting, a_person(), now=NOW + timedelta(hours=1)
    )

    assert isinstance(verdict, Release)
    assert verdict.enrollment.template == "cart"
    assert verdict.enrollment.variant == "picture"
    assert "variant" in [gate.name for gate in verdict.enrollment.gates]


def test_the_latest_event_says_which_variant_a_restarted_wait_has() -> None:
    variants = make_variants(
        [(Variant("big", PICTURE, value_above(200)), 0)],
        default_weight=0,
        holdout_weight=0,
        salt="cart",
    )
    plan = a_plan(
        variants=variants, delay=timedelta(hours=1), exceptions=(ExceptionRule("cart_filled"),)
    )

    passages = entered(
        plan,
        an_occurrence(event_id="a", value=50),
        an_occurrence(event_id="b", at=NOW + timedelta(minutes=1), value=300),
    )

    by_event = {one.event.event_id: one.variant for one in passages}
    assert by_event == {"a": DEFAULT, "b": "big"}


def test_the_workspace_holds_out_its_share_of_all_campaigns_but_critical_ones() -> None:
    plan = a_plan(settings=Settings(holdout_percent=12.5))
    people = [f"p{n}" for n in range(PEOPLE)]

    out = [one for one in people if not workspace_holdout(plan, one)[1]]

    assert abs(len(out) / PEOPLE - 0.125) < 0.01
    for free in (replace(plan, critical=True), replace(plan, ignores_holdout=True)):
        assert all(workspace_holdout(free, one)[1] for one in out)
    other = replace(plan, settings=Settings(holdout_percent=12.5, holdout_salt="next year"))
    assert any(workspace_holdout(other, one)[1] for one in out)


def test_who_is_in_the_holdout_of_the_workspace_does_not_enter() -> None:
    plan = a_plan(settings=Settings(holdout_percent=50))
    ledger = Ledger((), {})
    out = next(f"p{n}" for n in range(99) if not workspace_holdout(plan, f"p{n}")[1])

    assert not entered(plan, an_occurrence(profile=out), ledger=ledger)

    [refusal] = ledger.effects().refusals
    assert (refusal.gates[-1].name, refusal.gates[-1].passed) == ("holdout", False)
    assert "workspace holdout" in refusal.gates[-1].detail


def test_weights_that_share_nothing_are_no_split() -> None:
    assert make_variants([], default_weight=3, holdout_weight=0, salt="s") is None
    by_filter: Sequence[tuple[Variant, int]] = [(Variant("big", PICTURE, value_above(1)), 0)]
    only_rules = make_variants(by_filter, default_weight=0, holdout_weight=0, salt="s")
    assert only_rules is not None
    assert only_rules.arms == ()
    assert drawn(only_rules, "ana") == DEFAULT


def test_the_message_of_no_variant_is_the_campaigns() -> None:
    plan = a_split(default=1, picture=1)

    assert message_of(plan, "", now=NOW) == (plan.message, None)
    assert message_of(plan, DEFAULT, now=NOW) == (plan.message, None)
