"""What the answer of a filter turns out to depend on, while its SQL is made."""

from dataclasses import dataclass, field

from services.profile.model.segments import Dependencies


@dataclass(slots=True)
class Needs:
    """Grows with every name that is met."""

    event_types: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    traits: set[str] = field(default_factory=set)
    relations: set[str] = field(default_factory=set)
    devices: bool = False
    any_event: bool = False
    any_attribute: bool = False

    def frozen(self) -> Dependencies:
        return Dependencies(
            frozenset(self.event_types),
            frozenset(self.attributes),
            frozenset(self.traits),
            frozenset(self.relations),
            self.devices,
            self.any_event,
            self.any_attribute,
        )
