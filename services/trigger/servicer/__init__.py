"""What trigger can be asked."""

from services.trigger.servicer.broadcasts import BroadcastServicer
from services.trigger.servicer.campaigns import CampaignServicer
from services.trigger.servicer.decisions import DecisionServicer
from services.trigger.servicer.explain import Explaining
from services.trigger.servicer.quarantine import QuarantineServicer
from services.trigger.servicer.regions import RegionServicer
from services.trigger.servicer.requests import Requests
from services.trigger.servicer.settings import SettingsServicer
from services.trigger.servicer.watching import Watching

__all__ = [
    "BroadcastServicer",
    "CampaignServicer",
    "DecisionServicer",
    "Explaining",
    "QuarantineServicer",
    "RegionServicer",
    "Requests",
    "SettingsServicer",
    "Watching",
]
