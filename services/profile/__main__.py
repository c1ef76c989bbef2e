"""Wires profile together. Nothing here decides anything."""

from datetime import timedelta
from functools import partial

from beckon.profile.v1 import attribute_service_pb2_grpc as attribute_rpc
from beckon.profile.v1 import device_service_pb2_grpc as device_rpc
from beckon.profile.v1 import erasure_service_pb2_grpc as erasure_rpc
from beckon.profile.v1 import identity_service_pb2_grpc as identity_rpc
from beckon.profile.v1 import observation_service_pb2_grpc as observation_rpc
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc
from beckon.profile.v1 import relation_service_pb2_grpc as relation_rpc
from beckon.profile.v1 import segment_service_pb2_grpc as segment_rpc
from beckon.profile.v1 import trait_service_pb2_grpc as trait_rpc
from beckon.profile.v1 import watch_service_pb2_grpc as watch_rpc

from mesh import client, process
from mesh.clock import SystemClock
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.server import Service, serve
from mesh.wake import Wake
from services.profile.clients import IngestClient
from services.profile.config import Config
from services.profile.servicer import ObservationServicer, ProfileServicer
from services.profile.servicer.attributes import AttributeServicer
from services.profile.servicer.audiences import AudienceStreams
from services.profile.servicer.devices import DeviceServicer
from services.profile.servicer.erasures import ErasureServicer
from services.profile.servicer.explaining import Explainer
from services.profile.servicer.exporting import Exporter
from services.profile.servicer.identity import IdentityServicer
from services.profile.servicer.relations import RelationServicer
from services.profile.servicer.segments import SegmentServicer
from services.profile.servicer.traits import TraitServicer
from services.profile.servicer.watches import WatchServicer
from services.profile.store import MIGRATIONS, SCHEMA, Observations, Profiles, connect
from services.profile.store.areas import AREAS
from services.profile.store.attributes import Attributes, AttributeTypes
from services.profile.store.audiences import Audiences
from services.profile.store.definitions import Definitions
from services.profile.store.derived_events import DerivedEvents
from services.profile.store.devices import Devices
from services.profile.store.erasing import Eraser
from services.profile.store.erasures import Erasures
from services.profile.store.explanations import Explanations
from services.profile.store.leases import Lease
from services.profile.store.merges import Merges
from services.profile.store.related import RelatedPeople
from services.profile.store.relations import Relations
from services.profile.store.retention import Retention
from services.profile.store.segments import (
    Building,
    Counting,
    Dues,
    Members,
    SegmentDefinitions,
    load_segments,
)
from services.profile.store.traits import TraitDefinitions, TraitDues, TraitWalks, load_traits
from services.profile.store.watching import Watching
from services.profile.worker import Housekeeper
from services.profile.worker.derived import LEASE_SPAN, DerivedEventRelay
from services.profile.worker.devices import DeviceExpirer
from services.profile.worker.segments import SegmentBuilder, SegmentDues
from services.profile.worker.traits import TraitKeeper

PACKAGE = "beckon.profile.v1"


async def main(config: Config) -> None:
    """Serve until told to stop."""
    clock = SystemClock()
    await migrate(config.database_url, schema=SCHEMA, folder=MIGRATIONS)
    async with (
        connect(config.database_url, size=config.database_connections) as database,
        client.connect(config.ingest_target, key=config.key, service="ingest") as ingest,
    ):
        definitions = Definitions(load_traits, load_segments)
        types = AttributeTypes()
        store = Observations(database, clock, definitions, types)
        observation = ObservationServicer(
            store, clock, window=config.duplicate_window, weeks_kept=config.history_weeks
        )
        tokens = PageTokens.from_keys_file(config.server.keys_file)
        identity = IdentityServicer(Merges(database, definitions), clock, tokens)
        attributes = AttributeServicer(Attributes(database, types), clock, tokens)
        traits = TraitServicer(TraitDefinitions(database), clock, tokens)
        trait_keeper = TraitKeeper(
            TraitDues(database, definitions, clock), TraitWalks(database, definitions, clock)
        )
        device_store = Devices(database, definitions)
        devices = DeviceServicer(device_store, clock, tokens)
        relation_store = Relations(database, definitions)
        relations = RelationServicer(relation_store, RelatedPeople(database), clock, tokens)
        profile = ProfileServicer(
            Profiles(database, definitions, types),
            clock,
            tokens,
            Exporter(devices, relations),
            Explainer(Explanations(database)),
        )
        receipts = Erasures(database)
        erasures = ErasureServicer(
            Eraser(database, AREAS),
            receipts,
            clock,
            tokens,
            refused_for=timedelta(days=config.erasure_days),
        )
        wake = Wake()
        segments = SegmentServicer(
            SegmentDefinitions(database),
            Members(database),
            Counting(database),
            clock,
            tokens,
            changed=wake.ring,
        )
        audiences = Audiences(database, definitions, RelatedPeople(database))
        watches = WatchServicer(
            Watching(database),
            AudienceStreams(audiences, clock, tokens),
            clock,
            changed=wake.ring,
        )
        segment_builder = SegmentBuilder(Building(database), clock, wake)
        segment_dues = SegmentDues(Dues(database, definitions), clock)
        relay = DerivedEventRelay(
            DerivedEvents(database),
            IngestClient(ingest),
            Lease(database, "derived_events", span=LEASE_SPAN),
        )
        housekeeper = Housekeeper(
            store,
            Retention(database),
            receipts,
            clock,
            weeks_ahead=config.weeks_ahead,
            weeks_kept=config.history_weeks,
            answers_kept=config.answers_kept,
        )
        await serve(
            config.server,
            [
                Service(
                    partial(observation_rpc.add_ObservationServiceServicer_to_server, observation),
                    f"{PACKAGE}.ObservationService",
                ),
                Service(
                    partial(profile_rpc.add_ProfileServiceServicer_to_server, profile),
                    f"{PACKAGE}.ProfileService",
                ),
                Service(
                    partial(identity_rpc.add_IdentityServiceServicer_to_server, identity),
                    f"{PACKAGE}.IdentityService",
                ),
                Service(
                    partial(attribute_rpc.add_AttributeServiceServicer_to_server, attributes),
                    f"{PACKAGE}.AttributeService",
                ),
                Service(
                    partial(trait_rpc.add_TraitServiceServicer_to_server, traits),
                    f"{PACKAGE}.TraitService",
                ),
                Service(
                    partial(segment_rpc.add_SegmentServiceServicer_to_server, segments),
                    f"{PACKAGE}.SegmentService",
                ),
                Service(
                    partial(device_rpc.add_DeviceServiceServicer_to_server, devices),
                    f"{PACKAGE}.DeviceService",
                ),
                Service(
                    partial(relation_rpc.add_RelationServiceServicer_to_server, relations),
                    f"{PACKAGE}.RelationService",
                ),
                Service(
                    partial(watch_rpc.add_WatchServiceServicer_to_server, watches),
                    f"{PACKAGE}.WatchService",
                ),
                Service(
                    partial(erasure_rpc.add_ErasureServiceServicer_to_server, erasures),
                    f"{PACKAGE}.ErasureService",
                ),
            ],
            checks={"postgres": database.ping},
            workers=[
                housekeeper.run,
                DeviceExpirer(device_store, clock).run,
                trait_keeper.run,
                segment_builder.run,
                segment_dues.run,
                relay.run,
            ],
            # A bad one must be set aside by itself, not refuse the call; and the rules of events
            # were checked at the door, at 45 us an event.
            self_validating=frozenset(
                {
                    f"{PACKAGE}.ObservationService/ObserveEvents",
                    f"{PACKAGE}.ProfileService/PatchProfiles",
                    f"{PACKAGE}.RelationService/BatchPutRelations",
                }
            ),
        )


if __name__ == "__main__":
    process.start("profile", Config, main)
