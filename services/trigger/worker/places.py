"""Regions that campaigns in force name, indexed and held in memory."""

from collections.abc import Iterable, Mapping

from services.trigger.convert.places import make_places
from services.trigger.model import Places, Plan
from services.trigger.rules import regions_named_by
from services.trigger.store import RegionStore

_Revisions = frozenset[tuple[int, int]]


class Atlas:
    """Makes the index of a workspace's regions once for each change of them."""

    def __init__(self, store: RegionStore) -> None:
        """Read from `store`."""
        self._store = store
        self._made: dict[str, tuple[_Revisions, Places]] = {}

    async def load(self, plans: Iterable[Plan]) -> Mapping[str, Places]:
        """Return the places of each workspace in which campaigns name regions, as they are now."""
        named: dict[str, set[str]] = {}
        for plan in plans:
            regions = regions_named_by(plan)
            if regions:
                named.setdefault(plan.workspace, set()).update(regions)
        if not named:
            self._made = {}
            return {}
        revisions = await self._store.revisions(named)
        self._made = {
            workspace: await self._of(workspace, regions, revisions.get(workspace, frozenset()))
            for workspace, regions in named.items()
        }
        return {workspace: places for workspace, (_, places) in self._made.items()}

    async def _of(
        self, workspace: str, regions: set[str], revisions: _Revisions
    ) -> tuple[_Revisions, Places]:
        made = self._made.get(workspace)
        if made is not None and made[0] == revisions:
            return made
        # What has changed meanwhile has counted up the catalogue, and is loaded once more.
        return revisions, make_places(await self._store.load(workspace, regions))
