"""What has to be known of people before an event of theirs can be judged?"""

from datetime import timedelta

from services.trigger.model import HistoryQuestion, Key, Occurrence, Plan
from services.trigger.rules.reentry import reentry_key_of


def looks_back(plan: Plan) -> bool:
    """Say whether it matters for an entry what the recipient did in the campaign before.

    Where everybody may enter with every event, nothing that was does.
    """
    return bool(
        plan.exceptions
        or plan.date is not None
        or plan.reentry_interval != timedelta(0)
        or plan.simultaneous_max
        or plan.digest is not None
        or (plan.variants is not None and plan.variants.arms)
    )


def ask_of_entry(asked: HistoryQuestion, plan: Plan, event: Occurrence, key: Key) -> None:
    """Ask what an entry into a campaign depends on, besides the passages under way."""
    if plan.variants is not None and plan.variants.arms:
        asked.assigned.add(key)
    if plan.reentry_property:
        asked.entries.add((key, reentry_key_of(plan, event)))


def ask_of_goals(asked: HistoryQuestion, plan: Plan, event: Occurrence, key: Key) -> None:
    """Ask which passages may reach a goal of the campaign by an event."""
    window = max(goal.window for goal in plan.goals if goal.event_type == event.type)
    since = event.occur_time - window
    asked.goals[key] = min(asked.goals.get(key, since), since)
