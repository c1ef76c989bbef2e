"""Asks profile to forget people, without its socket, and looks what is left of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from beckon.profile.v1 import erasure_service_pb2 as pb

from mesh.pages import PageTokens
from services.profile.servicer.erasures import ErasureServicer
from services.profile.store.areas import AREAS
from services.profile.store.erasing import Eraser
from services.profile.store.erasures import Erasures
from tests.integration.profile.world import Profiles

PARENT = "workspaces/acme"
REFUSED_FOR = timedelta(days=30)


@dataclass
class Forgetting:
    """The erasure service on the tables of `world`."""

    world: Profiles
    eraser: Eraser = field(init=False)
    receipts: Erasures = field(init=False)
    servicer: ErasureServicer = field(init=False)

    def __post_init__(self) -> None:
        database = self.world.database
        self.eraser, self.receipts = Eraser(database, AREAS), Erasures(database)
        self.servicer = ErasureServicer(
            self.eraser,
            self.receipts,
            self.world.clock,
            PageTokens(b"secret"),
            refused_for=REFUSED_FOR,
        )

    async def erase(
        self, profile: str = "ana", *, reason: str = "", validate_only: bool = False
    ) -> pb.Erasure:
        request = pb.CreateErasureRequest(
            profile=f"{PARENT}/profiles/{profile}", reason=reason, validate_only=validate_only
        )
        return await self.servicer.CreateErasure(request, None)

    async def get(self, name: str) -> pb.Erasure:
        return await self.servicer.GetErasure(pb.GetErasureRequest(name=name), None)

    async def list(self, size: int = 0, token: str = "") -> pb.ListErasuresResponse:
        request = pb.ListErasuresRequest(parent=PARENT, page_size=size, page_token=token)
        return await self.servicer.ListErasures(request, None)

    async def record(self, name: str, service: str, counts: Mapping[str, int]) -> None:
        removal = pb.Erasure.Removal(service=service, counts=counts)
        await self.servicer.RecordErasure(pb.RecordErasureRequest(name=name, removal=removal), None)


def counts_of(erasure: pb.Erasure, service: str = "profile") -> dict[str, int]:
    """Return what a service has removed."""
    return next(dict(one.counts) for one in erasure.removals if one.service == service)


async def contents(world: Profiles) -> dict[str, list[str]]:
    """Return all rows of all tables as text."""
    tables = await world.fetch(
        "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'profile'::regnamespace AND relname <> 'schema_migrations' ORDER BY 1"
    )
    return {
        table: [row[0] for row in await world.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")]
        for (table,) in tables
    }


async def traces(world: Profiles, text: str) -> set[str]:
    """Return the tables in which the text stands anywhere, also within bytes."""
    spelled = (text, text.encode().hex())
    return {
        table
        for table, rows in (await contents(world)).items()
        if any(one in row for row in rows for one in spelled)
    }


def id_of(erasure: pb.Erasure) -> UUID:
    """Return the id of an erasure."""
    return UUID(erasure.name.rpartition("/")[2])
