"""What trigger remembers, in PostgreSQL."""

from services.trigger.store.admissions import refusals_of
from services.trigger.store.backfills import Backfill, BackfillStore
from services.trigger.store.broadcasts import BroadcastStore, Superseded, advance
from services.trigger.store.campaigns import CampaignStore
from services.trigger.store.enrollments import EnrollmentStore
from services.trigger.store.identities import Gathered, IdentityStore
from services.trigger.store.notices import NoticeStore, Owed
from services.trigger.store.positions import PositionStore
from services.trigger.store.quarantine import QuarantineStore
from services.trigger.store.rates import RateStore
from services.trigger.store.records import RecordStore
from services.trigger.store.regions import RegionStore
from services.trigger.store.reports import ReportStore
from services.trigger.store.requests import RequestStore
from services.trigger.store.settings import SettingsStore
from services.trigger.store.turns import (
    Before,
    CatalogueChanged,
    Conflict,
    Known,
    LostPartition,
    TurnStore,
)
from services.trigger.store.versions import VersionStore
from services.trigger.store.watches import WatchStore

__all__ = [
    "Backfill",
    "BackfillStore",
    "Before",
    "BroadcastStore",
    "CampaignStore",
    "CatalogueChanged",
    "Conflict",
    "EnrollmentStore",
    "Gathered",
    "IdentityStore",
    "Known",
    "LostPartition",
    "NoticeStore",
    "Owed",
    "PositionStore",
    "QuarantineStore",
    "RateStore",
    "RecordStore",
    "RegionStore",
    "ReportStore",
    "RequestStore",
    "SettingsStore",
    "Superseded",
    "TurnStore",
    "VersionStore",
    "WatchStore",
    "advance",
    "refusals_of",
]
