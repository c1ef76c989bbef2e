"""Compiles campaigns, with the earlier versions by which somebody may still go."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import structlog

from mesh.errors import MeshError
from services.trigger.convert.campaigns import Contexts, to_plan
from services.trigger.convert.versions import as_of
from services.trigger.model import Plan, Settings, StoredCampaign
from services.trigger.store.campaigns import Loaded

log = structlog.get_logger(__name__)

_Campaign = tuple[str, str]
"""Workspace and id."""
_DEFAULTS = Settings()


class Compiler:
    """Compiles what has changed, and remembers all else: 0.1 ms each, of thousands."""

    def __init__(self) -> None:
        """Begin with nothing compiled."""
        self._contexts = Contexts()
        # Of the newest version a revision counts, as another state is another plan.
        self._newest: dict[tuple[_Campaign, int], Plan] = {}
        self._earlier: dict[tuple[_Campaign, int], Plan] = {}

    def compile(self, loaded: Loaded) -> list[Plan]:
        """Return the plans of campaigns; what does not compile any more is left out."""
        newest: dict[tuple[_Campaign, int], Plan] = {}
        earlier: dict[tuple[_Campaign, int], Plan] = {}
        by_name = {(one.workspace, one.campaign): one for one in loaded.campaigns}
        for name, stored in by_name.items():
            for plan in self._compiled(stored, self._newest.get((name, stored.revision))):
                newest[name, stored.revision] = plan
        for version in loaded.earlier:
            name = (version.workspace, version.campaign)
            content = as_of(by_name[name], version)
            for plan in self._compiled(content, self._earlier.get((name, version.version))):
                earlier[name, version.version] = plan
        self._newest, self._earlier = newest, earlier
        return list(self._together(loaded))

    def _compiled(self, stored: StoredCampaign, known: Plan | None) -> Iterator[Plan]:
        try:
            yield known or to_plan(stored, self._contexts)
        except MeshError as error:
            # It compiled when it was saved: the library has changed since.
            log.error(
                "campaign_does_not_compile",
                workspace=stored.workspace,
                campaign=stored.campaign,
                version=stored.version,
                reason=error.message,
            )

    def _together(self, loaded: Loaded) -> Iterator[Plan]:
        past: dict[_Campaign, dict[int, Plan]] = defaultdict(dict)
        for (name, version), plan in self._earlier.items():
            past[name][version] = plan
        for (name, _), plan in self._newest.items():
            settings = loaded.settings.get(plan.workspace, _DEFAULTS)
            # An earlier version is what the campaign was; whether it is paused is of now.
            plans = {
                version: replace(one, state=plan.state, settings=settings)
                for version, one in past.get(name, {}).items()
            }
            if plans or settings != plan.settings:
                plan = replace(plan, settings=settings, past=replace(plan.past, plans=plans))  # noqa: PLW2901 — the same one, complete.
            yield plan
