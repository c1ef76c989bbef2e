"""Wires profile together. Nothing here decides anything."""

from beckon.profile.v1 import observation_service_pb2_grpc as observation_rpc
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc

from mesh import process
from mesh.clock import SystemClock
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.server import Service, serve
from services.profile.config import Config
from services.profile.servicer import ObservationServicer, ProfileServicer
from services.profile.store import MIGRATIONS, SCHEMA, Observations, Profiles, connect
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
        profile = ProfileServicer(Profiles(database), clock, tokens)
        housekeeper = Housekeeper(
            store, clock, weeks_ahead=config.weeks_ahead, answers_kept=config.answers_kept
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
            ],
            checks={"postgres": database.ping},
            workers=[housekeeper.run],
            # A bad event must be set aside by itself, not refuse the call; and its rules were
            # checked at the door, at 45 us an event.
            self_validating=frozenset({f"{PACKAGE}.ObservationService/ObserveEvents"}),
        )


if __name__ == "__main__":
    process.start("profile", Config, main)
