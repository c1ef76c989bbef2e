"""How the variants of a campaign do, as callers see it."""

from collections.abc import Iterable, Mapping

from beckon.trigger.v1.campaign_service_pb2 import Campaign, CampaignReport

from services.trigger.convert.variants import to_variants
from services.trigger.model import (
    DEFAULT,
    HOLDOUT,
    Arm,
    ArmCounts,
    GoalCounts,
    StoredCampaign,
    Tallies,
    Winner,
)

_NOBODY = ArmCounts()
_NEVER = GoalCounts()


def shared_arms(stored: StoredCampaign) -> tuple[Arm, ...]:
    """Return the arms of a campaign that are shared out by weight."""
    campaign = Campaign.FromString(stored.spec)
    variants = to_variants(campaign, stored.campaign, lambda _: None)
    return variants.arms if variants is not None else ()


def goals_of(stored: StoredCampaign) -> list[str]:
    """Return the ids of a campaign's goals."""
    return [goal.id for goal in Campaign.FromString(stored.spec).goals]


def to_report(
    stored: StoredCampaign, tallies: Tallies, winners: Iterable[Winner], *, alarm: bool
) -> CampaignReport:
    """Return the report of a campaign."""
    campaign = Campaign.FromString(stored.spec)
    goals = [goal.id for goal in campaign.goals]
    return CampaignReport(
        arms=[
            _arm(variant, tallies.arms.get(variant, _NOBODY), goals)
            for variant in _order(campaign, tallies.arms)
        ],
        verdicts=[
            CampaignReport.Verdict(goal=one.goal, winner=one.variant, detail=one.detail)
            for one in winners
        ],
        ratio_alarm=alarm,
    )


def _order(campaign: Campaign, counted: Mapping[str, ArmCounts]) -> list[str]:
    """Return the arms as they are listed; of those that are no more, those that somebody had."""
    now = [DEFAULT, *(one.id for one in campaign.variants)]
    gone = sorted(set(counted) - {*now, HOLDOUT})
    held_out = campaign.holdout_weight or HOLDOUT in counted
    return [*now, *gone, *([HOLDOUT] if held_out else [])]


def _arm(variant: str, counts: ArmCounts, goals: Iterable[str]) -> CampaignReport.Arm:
    return CampaignReport.Arm(
        variant=variant,
        entry_count=counts.entries,
        profile_count=counts.profiles,
        sent_count=counts.sent,
        waiting_count=counts.waiting,
        exits=counts.exits,
        goals=[_goal(goal, counts.goals.get(goal, _NEVER)) for goal in goals],
    )


def _goal(goal: str, counts: GoalCounts) -> CampaignReport.GoalCount:
    return CampaignReport.GoalCount(
        goal=goal,
        profile_count=counts.profiles,
        passage_count=counts.passages,
        value=counts.value,
    )
