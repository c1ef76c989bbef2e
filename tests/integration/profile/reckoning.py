"""Traits as tests declare them, and what they say."""

import json
from datetime import timedelta

from beckon.profile.v1 import trait_service_pb2 as pb

from tests.integration.profile.world import Profiles

DAY = timedelta(days=1)
COUNT = pb.Trait.AGGREGATE_COUNT
SUM = pb.Trait.AGGREGATE_SUM


def a_trait(
    trait_id: str = "orders",
    *,
    aggregate: pb.Trait.Aggregate.ValueType = COUNT,
    key: str = "",
    filter_: str = "",
    rolling: timedelta | None = None,
    calendar: pb.Trait.Calendar.ValueType | None = None,
    compare: bool = False,
    backfill: bool = False,
) -> pb.Trait:
    trait = pb.Trait(
        name=f"workspaces/acme/traits/{trait_id}",
        event_type="order_placed",
        aggregate=aggregate,
        property=key,
        filter=filter_,
        compare=compare,
        backfill=backfill,
    )
    if rolling is not None:
        trait.rolling.FromTimedelta(rolling)
    if calendar is not None:
        trait.calendar = calendar
    return trait


async def declare(profiles: Profiles, trait: pb.Trait) -> pb.Trait:
    return await profiles.traits.CreateTrait(pb.CreateTraitRequest(trait=trait), None)


async def get(profiles: Profiles, trait_id: str = "orders") -> pb.Trait:
    name = f"workspaces/acme/traits/{trait_id}"
    return await profiles.traits.GetTrait(pb.GetTraitRequest(name=name), None)


async def delete(profiles: Profiles, trait_id: str = "orders", **fields: bool) -> None:
    name = f"workspaces/acme/traits/{trait_id}"
    await profiles.traits.DeleteTrait(pb.DeleteTraitRequest(name=name, **fields), None)


async def kept(profiles: Profiles, profile: str = "ana") -> dict[str, float]:
    """Return the values as they are in the row, for segments to read."""
    rows = await profiles.fetch("SELECT traits FROM profiles WHERE profile_id = $1", profile)
    return dict(json.loads(rows[0][0]))


async def told(profiles: Profiles, profile: str = "ana") -> dict[str, float]:
    """Return the values as a judgement gets them."""
    return dict(json.loads((await profiles.standing(profile)).traits_json or "{}"))


async def keep(profiles: Profiles) -> None:
    while await profiles.trait_keeper.run_once():
        pass
