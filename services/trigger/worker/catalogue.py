"""Campaigns in force, compiled and held in memory."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from mesh.errors import MeshError, unavailable
from mesh.server import Stopping
from mesh.wake import Wake
from services.trigger.model import CampaignState, Places, Plan, Settings
from services.trigger.rules import LOCATION_REPORTED, Book, exception_types, make_book
from services.trigger.store import CampaignStore, RegionStore
from services.trigger.store.announcing import CHANNEL
from services.trigger.worker.compiling import Compiler
from services.trigger.worker.places import Atlas

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

    places: Mapping[str, Places] = field(default_factory=dict)
    """Regions by workspace; where no campaign names any there are none."""

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
        self._compiler = Compiler()
        self._atlas = Atlas(RegionStore(store.database))

    async def reload(self) -> Catalogue:
        """Read the campaigns anew."""
        loaded = await self._store.load(_IN_FORCE)
        if loaded.version > self.current.version:
            plans = self._compiler.compile(loaded)
            # After the version was read: never older than it says.
            places = await self._atlas.load(plans)
            self.current = _catalogue(loaded.version, plans, loaded.settings, places)
            log.info("catalogue_loaded", version=loaded.version, campaigns=len(plans))
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


def _catalogue(
    version: int,
    plans: list[Plan],
    settings: Mapping[str, Settings],
    places: Mapping[str, Places],
) -> Catalogue:
    of: dict[str, list[Plan]] = defaultdict(list)
    types: set[str] = {LOCATION_REPORTED} if places else set()
    for plan in plans:
        of[plan.workspace].append(plan)
        types |= {plan.trigger_type, *exception_types(plan)}
        types |= {goal.event_type for goal in plan.goals}
        if plan.digest is not None and plan.digest.undo is not None:
            types.add(plan.digest.undo.event_type)
    books = {workspace: make_book(some) for workspace, some in of.items()}
    by_name = {(plan.workspace, plan.campaign): plan for plan in plans}
    return Catalogue(version, by_name, books, frozenset(types), settings, places)
