"""Devices and relations without their socket, on a real database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from beckon.profile.v1 import device_service_pb2 as pb
from beckon.profile.v1 import relation_service_pb2 as relation_pb

from mesh.pages import PageTokens
from mesh.postgres import Connection, Database
from services.profile.servicer.devices import DeviceServicer
from services.profile.servicer.relations import RelationServicer
from services.profile.store import devices as device_store
from services.profile.store.definitions import Definitions
from services.profile.store.devices import Devices
from services.profile.store.related import RelatedPeople
from services.profile.store.relations import Relations
from services.profile.store.segments import load_segments
from services.profile.store.traits import load_traits
from tests.integration.profile.world import NOW, FakeClock

TOKEN = "t1"
FCM = pb.Device.PLATFORM_FCM
ACTIVE = pb.Device.STATE_ACTIVE
STALE = pb.Device.STATE_STALE
RELEASED = pb.Device.STATE_RELEASED
RETIRED = pb.Device.STATE_RETIRED


def named(profile: str, workspace: str = "acme") -> str:
    return f"workspaces/{workspace}/profiles/{profile}"


def short(name: str) -> str:
    return name.rpartition("/")[2]


def an_edge(
    from_id: str, kind: str, to_id: str, attributes: dict[str, Any] | None = None
) -> relation_pb.Relation:
    relation = relation_pb.Relation(kind=kind, to=named(to_id))
    setattr(relation, "from", named(from_id))
    if attributes:
        relation.attributes.update(attributes)
    return relation


async def unite(db: Connection, *ids: str) -> None:
    """Make these ids one person called as the first, as merging does, of what is tested here."""
    for profile_id in ids:
        await db.execute(
            "INSERT INTO profiles (workspace, profile_id, shard, create_time, update_time)"
            " VALUES ('acme', $1, 0, now(), now()) ON CONFLICT DO NOTHING",
            profile_id,
        )
    await db.fetch(
        "SELECT FROM profiles WHERE profile_id = ANY($1::text[]) ORDER BY profile_id"
        " FOR NO KEY UPDATE",
        list(ids),
    )
    await db.execute(
        "UPDATE profiles SET merged_into = CASE profile_id WHEN $1 THEN '' ELSE $1 END,"
        " member_ids = CASE WHEN profile_id = $1 AND cardinality($2::text[]) > 1 THEN $2::text[]"
        " ELSE '{}' END WHERE profile_id = ANY($2::text[])",
        ids[0],
        sorted(ids),
    )
    await device_store.reassign(db, "acme", list(ids), ids[0])


@dataclass
class Neighbours:
    """The two services, and what makes people one and two."""

    database: Database
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))

    def __post_init__(self) -> None:
        database, clock = self.database, self.clock
        tokens, definitions = PageTokens(b"secret"), Definitions(load_traits, load_segments)
        self.device_store = Devices(database, definitions)
        self.devices = DeviceServicer(self.device_store, clock, tokens)
        self.relations = RelationServicer(
            Relations(database, definitions), RelatedPeople(database), clock, tokens
        )

    async def unite(self, *ids: str) -> None:
        """Make these ids one person called as the first; of one id, let it go."""
        async with self.database.transaction() as db:
            await unite(db, *ids)

    async def part(self, *people: Sequence[str]) -> None:
        """Make each of these groups a person again."""
        async with self.database.transaction() as db:
            for ids in people:
                await unite(db, *ids)

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        async with self.database.connection() as db:
            return await db.fetch(query, *args)

    async def register(self, profile: str, token: str = TOKEN, **fields: str) -> pb.Device:
        request = pb.RegisterDeviceRequest(
            profile=named(profile), platform=FCM, token=token, **fields
        )
        return await self.devices.RegisterDevice(request, None)

    async def release(self, name: str) -> pb.Device:
        return await self.devices.ReleaseDevice(pb.ReleaseDeviceRequest(name=name), None)

    async def get(self, name: str) -> pb.Device:
        return await self.devices.GetDevice(pb.GetDeviceRequest(name=name), None)

    async def listed(self, profile: str) -> list[pb.Device]:
        request = pb.ListDevicesRequest(parent=named(profile))
        return list((await self.devices.ListDevices(request, None)).devices)

    async def transfers(self, profile: str) -> list[tuple[str, str, str]]:
        """From, to and why, oldest first."""
        request = pb.ListDeviceTransfersRequest(parent=named(profile), page_size=1000)
        found = (await self.devices.ListDeviceTransfers(request, None)).transfers
        return [(short(getattr(one, "from")), short(one.to), one.reason) for one in reversed(found)]

    async def retire(self, at: datetime, *names: str, reason: str = "unregistered") -> int:
        request = pb.RetireDevicesRequest()
        for name in names:
            request.items.add(name=name, reason=reason).report_time.FromDatetime(at)
        return (await self.devices.RetireDevices(request, None)).retired_count

    async def put(self, *edges: relation_pb.Relation) -> relation_pb.BatchPutRelationsResponse:
        request = relation_pb.BatchPutRelationsRequest(parent="workspaces/acme", relations=edges)
        return await self.relations.BatchPutRelations(request, None)

    async def delete(self, *edges: relation_pb.Relation) -> int:
        request = relation_pb.BatchDeleteRelationsRequest(parent="workspaces/acme", relations=edges)
        return (await self.relations.BatchDeleteRelations(request, None)).deleted_count

    async def edges(
        self, profile: str, kind: str = "", *, incoming: bool = False, page_size: int = 1000
    ) -> list[relation_pb.Relation]:
        """All pages."""
        request = relation_pb.ListRelationsRequest(
            parent=named(profile), kind=kind, incoming=incoming, page_size=page_size
        )
        found: list[relation_pb.Relation] = []
        while True:
            page = await self.relations.ListRelations(request, None)
            found += page.relations
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def related(self, profile: str, kind: str = "follows", **options: Any) -> list[str]:
        """The ids of all at the other end."""
        request = relation_pb.StreamRelatedRequest(profile=named(profile), kind=kind, **options)
        return [
            short(item.profile)
            async for part in self.relations.StreamRelated(request, None)
            for item in part.items
        ]
