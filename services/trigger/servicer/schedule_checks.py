"""That the time of a broadcast is still to come when its campaign is launched."""

from dataclasses import replace
from datetime import datetime

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import FailedPrecondition
from mesh.names import format_name
from mesh.postgres import Connection
from services.trigger.convert.campaigns import Contexts, to_plan
from services.trigger.model import StoredCampaign
from services.trigger.rules import is_over
from services.trigger.store import SettingsStore


async def require_time_to_come(
    store: SettingsStore, connection: Connection, stored: StoredCampaign, now: datetime
) -> None:
    """Raise FailedPrecondition if a campaign that is launched first has no time left to go out at.

    Of what was planned for last year nobody wants to hear at once. Later launches resume what was
    held, and a time that passed meanwhile goes out.
    """
    plan = to_plan(stored, Contexts())
    if stored.launch_time is not None or plan.schedule is None:
        return
    kept = await store.get(connection, stored.workspace)
    if is_over(replace(plan, settings=kept.settings), now):
        name = format_name(stored.workspace, "campaigns", stored.campaign)
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{name} has no time to come: what trigger.schedule says is past",
            metadata={
                "resourceName": name,
                "state": "trigger.schedule is past",
                "allowedStates": "a time of trigger.schedule is to come",
            },
        )
