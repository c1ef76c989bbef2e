"""Tells of variants, goals and reports, over the log and a real PostgreSQL."""

from datetime import timedelta
from typing import Any

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.type.v1.channel_pb2 import Channel

from mesh.errors import InvalidArgument
from services.trigger.model import Arm, Variants
from services.trigger.rules import drawn
from services.trigger.store import EnrollmentStore
from tests.integration.trigger.house import PARTITIONS, House, Interrupted, a_campaign, an_event
from tests.integration.trigger.test_people import erased, merged, unite

CART = "workspaces/acme/campaigns/cart"


def a_message(template: str = "picture") -> pb.Message:
    return pb.Message(
        channel=Channel.CHANNEL_WEBHOOK, template=f"workspaces/acme/templates/{template}"
    )


def a_variant(name: str = "picture", **how: Any) -> pb.Variant:
    return pb.Variant(id=name, message=a_message(name), **how)


def a_goal(name: str = "bought", event_type: str = "order_placed", **rest: Any) -> pb.Goal:
    return pb.Goal(id=name, event_type=event_type, **rest)


def arm_of(profile: str, weights: dict[str, int]) -> str:
    """Return the arm that the campaign `cart` draws for somebody."""
    arms = tuple(Arm(one, weight) for one, weight in weights.items())
    return drawn(Variants((), arms, "cart", ""), profile)


def somebody(arm: str, weights: dict[str, int], start: str = "p") -> str:
    """Return a profile id for which the hash draws an arm; weights in the campaign's order."""
    return next(one for one in (f"{start}{n}" for n in range(99)) if arm_of(one, weights) == arm)


async def report(house: House) -> pb.CampaignReport:
    return await house.campaigns.GetCampaignReport(pb.GetCampaignReportRequest(name=CART), None)


async def test_each_gets_the_message_of_her_variant_and_who_is_held_out_none(house: House) -> None:
    weights = {"default": 1, "picture": 1, "holdout": 1}
    await house.launch(
        a_campaign(variants=[a_variant(weight=1)], default_weight=1, holdout_weight=1)
    )
    people = {arm: somebody(arm, weights) for arm in weights}

    await house.append(*(an_event(profile=one) for one in people.values()))
    await house.work()

    found = {arm: (await house.decided(one))[0] for arm, one in people.items()}
    assert {arm: one.variant for arm, one in found.items()} == {arm: arm for arm in weights}
    assert found["holdout"].state == Decision.STATE_EXITED
    assert found["holdout"].gates[-1].name == "holdout"
    assert sorted(one.template.rpartition("/")[2] for one in house.out) == ["cart", "picture"]


async def test_variants_by_filter_take_the_first_that_holds(house: House) -> None:
    big = a_variant("big", filter="event.properties.value > 200.0")
    small = a_variant("small", filter="event.properties.value < 10.0")
    await house.launch(a_campaign(variants=[big, small], reentry=0))

    await house.append(
        *(an_event(id=f"e{value}", value=value) for value in (300, 100, 5)), an_event(id="none")
    )
    await house.work()

    variants = {one.event_id: one.variant for one in await house.decided()}
    assert variants == {"e300": "big", "e100": "default", "e5": "small", "none": "default"}


async def test_an_arm_stays_when_weights_change_and_its_passages_are_forgotten(
    house: House,
) -> None:
    launched = await house.launch(
        a_campaign(variants=[a_variant(weight=1)], default_weight=1, reentry=0)
    )
    who = somebody("default", {"default": 1, "picture": 1})
    await house.append(an_event(profile=who))
    await house.work()
    house.clock.advance(days=90)
    store = EnrollmentStore(house.database, partitions=PARTITIONS)
    await store.forget(house.clock.now(), limit=100)

    launched.variants[0].weight = 9999
    await house.campaigns.UpdateCampaign(pb.UpdateCampaignRequest(campaign=launched), None)
    await house.append(an_event(id="again", profile=who))
    await house.work()

    assert (await house.decision("again", who)).variant == "default"


async def test_united_people_keep_the_arm_that_was_given_first(house: House) -> None:
    weights = {"default": 1, "picture": 1}
    await house.launch(a_campaign(variants=[a_variant(weight=1)], default_weight=1, reentry=0))
    anonymous = somebody("picture", weights, "anon")
    known = somebody("default", weights, "known")
    await house.append(an_event(id="first", profile=anonymous))
    await house.work()
    house.clock.advance(seconds=1)

    house.memory.profile.unite(known, anonymous)
    await house.append(merged(known, anonymous))
    await house.append(an_event(id="then", profile=known))
    await house.work()

    assert (await house.decision("then", known)).variant == "picture"


async def test_goals_count_for_all_arms_whatever_became_of_the_message(house: House) -> None:
    weights = {"default": 1, "picture": 1, "holdout": 1}
    spent = a_goal("spent", value_property="total")
    campaign = a_campaign(
        variants=[a_variant(weight=1)],
        default_weight=1,
        holdout_weight=1,
        goals=[a_goal(), spent],
        exceptions={"order_placed": ""},
        delay=3600,
    )
    await house.launch(campaign)
    people = {arm: somebody(arm, weights) for arm in weights}
    await house.append(*(an_event(profile=one) for one in people.values()))
    await house.work()
    house.clock.advance(minutes=5)

    for total in (20, 30):
        await house.append(
            *(an_event("order_placed", profile=one, total=total) for one in people.values())
        )
        await house.work()

    found = await report(house)
    assert [arm.variant for arm in found.arms] == list(weights)
    for arm in found.arms:
        assert (arm.entry_count, arm.profile_count, arm.sent_count) == (1, 1, 0)
        assert [(one.goal, one.passage_count, one.value) for one in arm.goals] == [
            ("bought", 1, 0.0),
            ("spent", 1, 20.0),
        ]
    gates = {arm.variant: dict(arm.exits) for arm in found.arms}
    assert gates["picture"] == {"exception": 1}
    assert gates["holdout"] == {"holdout": 1}
    assert [one.winner for one in found.verdicts] == ["", ""]
    assert "too few people" in found.verdicts[0].detail


async def test_a_goal_long_after_the_message_counts_and_one_too_late_does_not(
    house: House,
) -> None:
    goal = a_goal()
    goal.window.FromTimedelta(timedelta(days=2))
    await house.launch(a_campaign(goals=[goal]))
    await house.append(an_event(profile="ana"), an_event(profile="eve"))
    await house.work()

    house.clock.advance(days=1)
    await house.append(an_event("order_placed", profile="ana"))
    await house.work()
    house.clock.advance(days=2)
    await house.append(an_event("order_placed", profile="eve"))
    await house.work()

    [arm] = (await report(house)).arms
    assert (arm.variant, arm.entry_count, arm.sent_count) == ("default", 2, 2)
    assert arm.goals[0].profile_count == 1


async def test_a_restarted_passage_is_one_entry(house: House) -> None:
    await house.launch(
        a_campaign(exceptions={"cart_filled": ""}, delay=600, goals=[a_goal()], reentry=0)
    )
    for _ in range(3):
        await house.append(an_event())
        await house.judge()
        house.clock.advance(minutes=1)
    await house.append(an_event("order_placed"))
    await house.judge()

    [arm] = (await report(house)).arms
    assert (arm.entry_count, arm.waiting_count, dict(arm.exits)) == (1, 1, {})
    assert arm.goals[0].passage_count == 1


async def test_a_goal_follows_the_person_who_is_united_meanwhile(house: House) -> None:
    await house.launch(a_campaign(goals=[a_goal()]))
    await house.append(an_event(profile="a1"))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(an_event("order_placed", profile="a1"))

    async def unite() -> None:
        house.memory.profile.unite("ana", "a1")
        await house.append(merged("ana", "a1"))
        await house.judge()

    house.worker.turns._store = Interrupted(house, unite)
    await house.judge()
    await house.work()

    [arm] = (await report(house)).arms
    assert arm.goals[0].profile_count == 1


async def test_each_order_enters_once_also_after_it_is_forgotten(house: House) -> None:
    await house.launch(a_campaign(reentry_property="order_id"))
    await house.append(an_event(id="a", order_id="o1"), an_event(id="b", order_id="o2"))
    await house.work()
    house.clock.advance(days=90)
    store = EnrollmentStore(house.database, partitions=PARTITIONS)
    await store.forget(house.clock.now(), limit=100)

    await house.append(an_event(id="c", order_id="o1"), an_event(id="d", order_id="o3"))
    await house.work()

    assert (await house.decision("c")).gates[-1].name == "reentry"
    assert (await house.decision("d")).state == Decision.STATE_SENT


async def test_no_more_than_so_many_are_under_way(house: House) -> None:
    await house.launch(a_campaign(simultaneous_max=1, reentry=0, delay=60))
    await house.append(an_event(id="a"), an_event(id="b"))
    await house.judge()
    house.clock.advance(minutes=2)
    await house.work()
    await house.append(an_event(id="c"))
    await house.work()

    assert (await house.decision("b")).gates[-1].name == "simultaneous"
    assert (await house.decision("c")).state == Decision.STATE_WAITING


async def test_erased_people_leave_no_arm_and_no_goal(house: House) -> None:
    await house.launch(
        a_campaign(variants=[a_variant(weight=1)], default_weight=1, goals=[a_goal()])
    )
    await house.append(an_event())
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(an_event("order_placed"))
    await house.work()

    house.memory.profile.erase("ana")
    await house.append(*erased("ana"))
    await house.work()

    async with house.database.connection() as connection:
        left = await connection.fetchval(
            "SELECT (SELECT count(*) FROM conversions) + (SELECT count(*) FROM assignments)"
        )
    assert left == 0


async def test_who_is_held_out_of_the_workspace_gets_only_what_ignores_that(house: House) -> None:
    async with house.database.connection() as connection:
        await connection.execute(
            "INSERT INTO settings (workspace, time_zone, holdout_percent, holdout_salt, revision,"
            " update_time) VALUES ('acme', '', 50, '', 1, now())"
        )
        await connection.execute("UPDATE catalogue SET version = version + 1")
    await house.launch(a_campaign())
    await house.launch(a_campaign(ignores_holdout=True), "confirmation")
    people = [f"p{number}" for number in range(20)]

    await house.append(*(an_event(profile=one) for one in people))
    await house.work()

    gates = [(await house.decided(one, campaign=CART))[0].gates[-1] for one in people]
    out = [gate for gate in gates if gate.name == "holdout"]
    assert 0 < len(out) < len(people)
    assert {gate.detail for gate in out} == {"workspace holdout of 50 %"}
    assert len(house.out) == len(people) + len(people) - len(out)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"variants": [a_variant("default", weight=1)]}, "campaign.variants[0].id"),
        ({"variants": [a_variant(weight=1), a_variant(weight=2)]}, "campaign.variants[0].id"),
        ({"variants": [a_variant()]}, "campaign.variants[0].weight"),
        ({"variants": [a_variant(weight=1, filter="true")]}, "campaign.variants[0].weight"),
        ({"variants": [a_variant(filter="nonsense(")]}, "campaign.variants[0].filter"),
        ({"variants": [pb.Variant(id="x", weight=1)]}, "campaign.variants[0].message"),
        (
            {
                "variants": [
                    pb.Variant(
                        id="x",
                        weight=1,
                        message=pb.Message(
                            channel=Channel.CHANNEL_WEBHOOK,
                            template="workspaces/other/templates/t",
                        ),
                    )
                ]
            },
            "campaign.variants[0].message.template",
        ),
        ({"default_weight": 1}, "campaign.default_weight"),
        ({"goals": [a_goal(), a_goal()]}, "campaign.goals[0].id"),
        ({"goals": [a_goal(filter="nonsense(")]}, "campaign.goals[0].filter"),
    ],
)
async def test_what_does_not_fit_is_refused_by_its_field(
    house: House, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await house.launch(a_campaign(**change))

    assert [one.field for one in refused.value.violations] == [field]


async def test_no_more_than_so_many_are_under_way_of_who_turns_out_to_be_one(house: House) -> None:
    await house.launch(a_campaign(simultaneous_max=2, reentry=0, delay=60))
    await house.append(an_event(id="a"), an_event(id="b", profile="anon"), an_event(id="c"))
    await house.judge()

    await unite(house, "ana", "anon")
    await house.work()
    house.clock.advance(minutes=2)
    await house.work()

    assert len(house.out) == 2
    assert (await house.decision("c")).gates[-1].name == "simultaneous"
