"""Campaigns in force, compiled and held in memory."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from mesh.errors import MeshError, unavailable
from mesh.server import Stopping
from mesh.wake import Wake
from services.trigger.convert.campaigns import Contexts, to_plan
from services.trigger.model import CampaignState, Plan, Settings
from services.trigger.rules import Book, make_book
from services.trigger.store import CampaignStore
from services.trigger.store.announcing import CHANNEL

log = structlog.get_logger(__name__)

_IN_FORCE = (CampaignState.ACTIVE.value, CampaignState.PAUSED.value)
_EMPTY = Book({}, {}, {})
_DEFAULTS = Settings()
# How long to wait before listening again on a connection that was lost.
_AGAIN_SECONDS = 1.0
# A connection that has died silently is noticed by then.
_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The campaigns of one version."""

    version: int
    plans: Mapping[tuple[str, str], Plan]
    """Active and paused ones by workspace and id."""
    books: Mapping[str, Book]
    """By workspace."""
    types: frozenset[str]
    """Of all events that concern any of them."""
    workspaces: Mapping[str, Settings] = field(default_factory=dict)
    """Settings of those that have set any; its campaigns have them too."""

    def book(self, workspace: str) -> Book:
        """Return the campaigns of a workspace."""
        return self.books.get(workspace, _EMPTY)

    def settings(self, workspace: str) -> Settings:
        """Return what holds for all campaigns of a workspace."""
        return self.workspaces.get(workspace, _DEFAULTS)


class Catalogues:
    """Holds the newest catalogue that this process knows."""

    def __init__(self, store: CampaignStore) -> None:
        """Read from `store`."""
        self._store = store
        self.current = Catalogue(0, {}, {}, frozenset())
        self._contexts = Contexts()
        self._compiled: dict[tuple[str, str, int], Plan] = {}

    async def reload(self) -> Catalogue:
        """Read the campaigns anew."""
        loaded = await self._store.load(_IN_FORCE)
        if loaded.version > self.current.version:
            compiled: dict[tuple[str, str, int], Plan] = {}
            for stored in loaded.campaigns:
                # What has not changed is not compiled again: 0.1 ms each, of thousands.
                known = (stored.workspace, stored.campaign, stored.revision)
                try:
                    compiled[known] = self._compiled.get(known) or to_plan(stored, self._contexts)
                except MeshError as error:
                    # It compiled when it was saved: the library has changed since.
                    log.error(
                        "campaign_does_not_compile",
                        workspace=stored.workspace,
                        campaign=stored.campaign,
                        reason=error.message,
                    )
            self._compiled = compiled
            self.current = _catalogue(loaded.version, list(compiled.values()), loaded.settings)
            log.info("catalogue_loaded", version=loaded.version, campaigns=len(compiled))
        return self.current

    async def listen(self, stopping: Stopping) -> None:
        """Reload whenever campaigns change, until told to stop.

        Only saves a turn from being judged twice: every commit compares the version.
        """
        while not stopping.is_set():
            try:
                await self._listen_once(stopping)
            except MeshError as error:
                log.warning("catalogue_not_heard", reason=error.message)
                await stopping.wait(_AGAIN_SECONDS)

    async def _listen_once(self, stopping: Stopping) -> None:
        bell = Wake()

        def hear(*_: object) -> None:
            bell.ring()

        async with self._store.database.connection() as connection:
            await connection.add_listener(CHANNEL, hear)
            try:
                while not stopping.is_set():
                    await self.reload()
                    await bell.wait(stopping, seconds=_LOOK_SECONDS)
                    if connection.is_closed():
                        raise unavailable("postgres")
            finally:
                if not connection.is_closed():
                    await connection.remove_listener(CHANNEL, hear)


def _catalogue(version: int, compiled: list[Plan], settings: Mapping[str, Settings]) -> Catalogue:
    plans = [
        replace(plan, settings=settings[plan.workspace]) if plan.workspace in settings else plan
        for plan in compiled
    ]
    of: dict[str, list[Plan]] = defaultdict(list)
    types: set[str] = set()
    for plan in plans:
        of[plan.workspace].append(plan)
        types |= {plan.trigger_type, *(rule.event_type for rule in plan.exceptions)}
    books = {workspace: make_book(some) for workspace, some in of.items()}
    by_name = {(plan.workspace, plan.campaign): plan for plan in plans}
    return Catalogue(version, by_name, books, frozenset(types), settings)
