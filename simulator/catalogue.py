"""The campaigns of a scenario, compiled, with what they were before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.trigger.v1.region_service_pb2 import Region

from services.trigger.convert.campaigns import Contexts, stored_spec, to_plan
from services.trigger.convert.places import make_places
from services.trigger.model import (
    CampaignState,
    InFlight,
    Past,
    Places,
    Plan,
    StoredCampaign,
    StoredRegion,
)
from services.trigger.rules import after_change, make_book, regions_named_by
from simulator.workspace import Workspace

_IN_FORCE = (CampaignState.ACTIVE, CampaignState.PAUSED)


@dataclass(slots=True)
class _Kept:
    """A campaign with all its versions."""

    stored: StoredCampaign
    content: Campaign
    past: Past = field(default_factory=Past)
    versions: dict[int, StoredCampaign] = field(default_factory=dict)


class Catalogue:
    """What is in force."""

    def __init__(self, workspace: Workspace) -> None:
        """Begin without campaigns."""
        self._workspace = workspace
        self._contexts = Contexts()
        self._kept: dict[str, _Kept] = {}
        self._regions: dict[str, StoredRegion] = {}
        self.plans: dict[str, Plan] = {}
        self.book = make_book(())
        self.places: Mapping[str, Places] = {}

    def put(self, campaign_id: str, content: Campaign, state: str, now: datetime) -> None:
        """Create a campaign."""
        stored = StoredCampaign(
            workspace=self._workspace.name,
            campaign=campaign_id,
            state=state,
            spec=stored_spec(content),
            version=1,
            revision=1,
            create_time=now,
            update_time=now,
        )
        self._kept[campaign_id] = _Kept(stored, content)
        self._compile()

    def edit(self, campaign_id: str, content: Campaign, in_flight: InFlight, now: datetime) -> None:
        """Give a campaign another content."""
        kept = self._kept[campaign_id]
        before = kept.stored
        spec = stored_spec(content)
        if spec == before.spec:
            return
        version = before.version + 1
        migrate, exit_ = after_change(kept.past, version, in_flight)
        kept.versions[before.version] = before
        kept.past = Past(migrate, exit_)
        kept.stored = replace(before, spec=spec, version=version, update_time=now)
        kept.content = content
        self._compile()

    def move(self, campaign_id: str, state: str) -> None:
        """Launch, pause or archive a campaign."""
        kept = self._kept[campaign_id]
        kept.stored = replace(kept.stored, state=state)
        self._compile()

    def add_region(self, region_id: str, region: Region, now: datetime) -> None:
        """Draw a region."""
        self._regions[region_id] = StoredRegion(
            workspace=self._workspace.name,
            region=region_id,
            number=len(self._regions) + 1,
            spec=region.SerializeToString(),
            revision=1,
            create_time=now,
            update_time=now,
        )
        self._compile()

    def contents(self) -> Iterable[tuple[str, Campaign]]:
        """Yield what is in force."""
        for campaign_id in self.plans:
            yield campaign_id, self._kept[campaign_id].content

    def _compile(self) -> None:
        self.plans = {
            campaign_id: self._plan(kept)
            for campaign_id, kept in self._kept.items()
            if CampaignState(kept.stored.state) in _IN_FORCE
        }
        self.book = make_book(self.plans.values())
        named = {one for plan in self.plans.values() for one in regions_named_by(plan)}
        drawn = [one for region_id, one in self._regions.items() if region_id in named]
        self.places = {self._workspace.name: make_places(drawn)} if drawn else {}

    def _plan(self, kept: _Kept) -> Plan:
        state = kept.stored.state
        earlier = {
            version: self._compiled(replace(stored, state=state))
            for version, stored in kept.versions.items()
        }
        past = replace(kept.past, plans=earlier)
        return replace(self._compiled(kept.stored), past=past)

    def _compiled(self, stored: StoredCampaign) -> Plan:
        plan = to_plan(stored, self._contexts)
        return replace(plan, settings=self._workspace.settings)
