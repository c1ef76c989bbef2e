"""Wires profile together. Nothing here decides anything."""

from beckon.profile.v1 import attribute_service_pb2_grpc as attribute_rpc
from beckon.profile.v1 import observation_service_pb2_grpc as observation_rpc
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc

from mesh import process
from mesh.clock import SystemClock
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.server import Service, serve
from services.profile.config import Config
from services.profile.servicer import ObservationServicer, ProfileServicer
from services.profile.servicer.attributes import AttributeServicer
from services.profile.store import MIGRATIONS, SCHEMA, Observations, Profiles, connect
from services.profile.store.attributes import AttributeTypes
from services.profile.store.definitions import Definitions
from services.profile.store.segments import load_segments
from services.profile.store.traits import load_traits
from services.profile.store.erasures import Erasures
from services.profile.store.retention import Retention
from services.profile.worker import Housekeeper

PACKAGE = "beckon.profile.v1"


async def main(config: Config) -> None:
    """Serve until told to stop."""
    clock = SystemClock()
    await migrate(config.database_url, schema=SCHEMA, folder=MIGRATIONS)
    async with connect(config.database_url, size=config.database_connections) as database:
        store = Observations(database, clock)
        observation = ObservationServicer(store, window=config.duplicate_window)
        tokens = PageTokens.from_keys_file(config.server.keys_file)
        definitions = Definitions(load_traits, load_segments)
        types = AttributeTypes()
        profile = ProfileServicer(Profiles(database, definitions, types), clock, tokens)
        attributes = AttributeServicer(database, types, clock, tokens)
        housekeeper = Housekeeper(
            store,
            Retention(database),
            Erasures(database),
            clock,
            weeks_ahead=config.weeks_ahead,
            weeks_kept=config.history_weeks,
            answers_kept=config.answers_kept,
        )
        await serve(
            config.server,
            [
                Service(
                    lambda s: observation_rpc.add_ObservationServiceServicer_to_server(
                        observation, s
                    ),
                    f"{PACKAGE}.ObservationService",
                ),
                Service(
                    lambda s: profile_rpc.add_ProfileServiceServicer_to_server(profile, s),
                    f"{PACKAGE}.ProfileService",
                ),
                Service(
                    lambda s: attribute_rpc.add_AttributeServiceServicer_to_server(attributes, s),
                    f"{PACKAGE}.AttributeService",
                ),
            ],
            checks={"postgres": database.ping},
            workers=[housekeeper.run],
            # A bad event must be set aside by itself, not refuse the call; and its rules were
            # checked at the door, at 45 us an event.
            self_validating=frozenset({f"{PACKAGE}.ObservationService/ObserveEvents"}),
        )


if __name__ == "__main__":
    process.start("profile", Config, main)
