"""Variants of a campaign: what is compiled of them, and what the schema cannot say."""

from collections import Counter
from collections.abc import Callable, Iterator

from beckon.trigger.v1.campaign_service_pb2 import Campaign, Message

from mesh.errors import invalid_field
from mesh.names import parse_name
from services.trigger import model
from services.trigger.model import DEFAULT, HOLDOUT, Predicate, Variants
from services.trigger.rules import make_variants

_RESERVED = frozenset({DEFAULT, HOLDOUT})

Compile = Callable[[str], Predicate | None]
"""Compiles the source of a filter."""


def to_variants(campaign: Campaign, name: str, compiled: Compile) -> Variants | None:
    """Return how a campaign of that id tells people apart; None: it does not."""
    return make_variants(
        [
            (
                model.Variant(one.id, to_message(one.message), compiled(one.filter)),
                one.weight,
            )
            for one in campaign.variants
        ],
        default_weight=campaign.default_weight,
        holdout_weight=campaign.holdout_weight,
        salt=campaign.salt or name,
    )


def to_message(message: Message) -> model.Message:
    """Return what is sent."""
    return model.Message(message.channel, parse_name(message.template, "templates")[1])


def variant_filters(campaign: Campaign) -> Iterator[tuple[str, str, bool]]:
    """Yield the filters of the variants as those of the campaign are."""
    for index, one in enumerate(campaign.variants):
        yield f"campaign.variants[{index}].filter", one.filter, False


def variant_messages(campaign: Campaign) -> Iterator[tuple[str, Message]]:
    """Yield the messages of the variants, each with its field path."""
    for index, one in enumerate(campaign.variants):
        yield f"campaign.variants[{index}].message", one.message


def check_variants(campaign: Campaign) -> None:
    """Raise InvalidArgument, naming the field, unless people can be told apart."""
    counts = Counter(one.id for one in campaign.variants)
    for index, one in enumerate(campaign.variants):
        field = f"campaign.variants[{index}]"
        if one.id in _RESERVED:
            raise invalid_field(f"{field}.id", f"{one.id} is taken", reason="reserved")
        if counts[one.id] > 1:
            raise invalid_field(f"{field}.id", f"{one.id} is there twice", reason="unique")
        if bool(one.filter) == bool(one.weight):
            raise invalid_field(
                f"{field}.weight", "exactly one of filter and weight", reason="one_of"
            )
        if not one.HasField("message"):
            raise invalid_field(f"{field}.message", "is required", reason="required")
    shared = any(one.weight for one in campaign.variants) or campaign.holdout_weight
    if campaign.default_weight and not shared:
        raise invalid_field(
            "campaign.default_weight",
            "there is nothing to share with: no variant has a weight, and nobody is held out",
            reason="weight",
        )
