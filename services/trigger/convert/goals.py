"""Goals of a campaign: what is compiled of them, and what the schema cannot say."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta

from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.errors import invalid_field
from services.trigger import model
from services.trigger.convert.times import from_duration
from services.trigger.model import Predicate

_WINDOW = timedelta(days=7)

Compile = Callable[[str], Predicate | None]
"""Compiles the source of a filter that sees `trigger`."""


def to_goals(campaign: Campaign, compiled: Compile) -> tuple[model.Goal, ...]:
    """Return what counts as success of a campaign."""
    return tuple(
        model.Goal(
            one.id,
            one.event_type,
            compiled(one.filter),
            from_duration(one.window) if one.HasField("window") else _WINDOW,
            one.value_property,
        )
        for one in campaign.goals
    )


def goal_filters(campaign: Campaign) -> Iterator[tuple[str, str, bool]]:
    """Yield the filters of the goals as those of the campaign are."""
    for index, one in enumerate(campaign.goals):
        yield f"campaign.goals[{index}].filter", one.filter, True


def check_goals(campaign: Campaign) -> None:
    """Raise InvalidArgument, naming the field, unless the goals can be told apart."""
    counts = Counter(one.id for one in campaign.goals)
    for index, one in enumerate(campaign.goals):
        if counts[one.id] > 1:
            raise invalid_field(
                f"campaign.goals[{index}].id", f"{one.id} is there twice", reason="unique"
            )
