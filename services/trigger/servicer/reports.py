"""How the variants of a campaign do."""

from beckon.trigger.v1.campaign_service_pb2 import CampaignReport

from services.trigger.convert.reports import goals_of, shared_arms, to_report
from services.trigger.model import StoredCampaign
from services.trigger.rules import judge_goal, ratio_alarm
from services.trigger.store import ReportStore


class Reports:
    """Compares variants."""

    def __init__(self, store: ReportStore) -> None:
        """Count what `store` has."""
        self._store = store

    async def of(self, stored: StoredCampaign) -> CampaignReport:
        """Return how the variants of a campaign do until now."""
        tallies = await self._store.tallies(stored.workspace, stored.campaign)
        alarm = ratio_alarm(tallies.samples)
        arms = shared_arms(stored)
        winners = [
            judge_goal(goal, arms, tallies.samples, alarm=alarm) for goal in goals_of(stored)
        ]
        return to_report(stored, tallies, winners, alarm=alarm)
