"""What others want to hear of people."""

from typing import NamedTuple

ATTRIBUTE_CHANGED = "attribute_changed"
CONDITION_ENTERED = "condition_entered"
CONDITION_EXITED = "condition_exited"

CONDITION = "~"
"""With it begin the ids of segments that are conditions: no caller can name them."""


class Condition(NamedTuple):
    """Something that holds of people or does not."""

    condition_id: str
    filter: str

    @property
    def segment_id(self) -> str:
        """Under which it is kept as a segment."""
        return CONDITION + self.condition_id


class AttributeChange(NamedTuple):
    """An attribute that is another now, each value as its JSON text; None: not set."""

    attribute: str
    before: str | None
    after: str | None
