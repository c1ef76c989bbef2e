"""Wires throttle together. Nothing here decides anything."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as caps_rpc
from beckon.throttle.v1 import identity_service_pb2_grpc as identities_rpc
from beckon.throttle.v1 import subscription_service_pb2_grpc as subscriptions_rpc
from beckon.throttle.v1 import throttle_service_pb2_grpc as rpc

from mesh import postgres, process, redis
from mesh.clock import Clock, SystemClock
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.server import Service, serve
from services.throttle.config import Config
from services.throttle.servicer import (
    FrequencyCapServicer,
    IdentityServicer,
    SubscriptionServicer,
    ThrottleServicer,
)
from services.throttle.store import Caps, Identities, Places, Subscriptions

SCHEMA = "throttle"
MIGRATIONS = Path(__file__).parent / "migrations"
PACKAGE = "beckon.throttle.v1"

# They check for themselves: a send at a fiftieth of the general check's cost, and of a
# changed cap what becomes of it instead of what was sent.
SELF_VALIDATING = frozenset(
    {
        f"{PACKAGE}.ThrottleService/ReserveSends",
        f"{PACKAGE}.ThrottleService/SettleSends",
        f"{PACKAGE}.FrequencyCapService/UpdateFrequencyCap",
    }
)


def services(
    *,
    subscriptions: Subscriptions,
    identities: Identities,
    caps: Caps,
    places: Places,
    tokens: PageTokens,
    clock: Clock,
) -> list[Service]:
    """Return what is served."""
    throttle = ThrottleServicer(subscriptions, identities, caps, places, clock=clock)
    people = IdentityServicer(identities, places, clock=clock)
    frequency_caps = FrequencyCapServicer(caps, tokens)
    consent = SubscriptionServicer(subscriptions, clock=clock)
    return [
        Service(
            partial(rpc.add_ThrottleServiceServicer_to_server, throttle),
            f"{PACKAGE}.ThrottleService",
        ),
        Service(
            partial(caps_rpc.add_FrequencyCapServiceServicer_to_server, frequency_caps),
            f"{PACKAGE}.FrequencyCapService",
        ),
        Service(
            partial(subscriptions_rpc.add_SubscriptionServiceServicer_to_server, consent),
            f"{PACKAGE}.SubscriptionService",
        ),
        Service(
            partial(identities_rpc.add_IdentityServiceServicer_to_server, people),
            f"{PACKAGE}.IdentityService",
        ),
    ]


async def main(config: Config) -> None:
    """Serve until told to stop."""
    await migrate(config.database_url, schema=SCHEMA, folder=MIGRATIONS)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            postgres.connect(config.database_url, schema=SCHEMA, size=config.database_connections)
        )
        client = await stack.enter_async_context(redis.connect(config.redis_url))
        caps = Caps(database, clock)
        await serve(
            config.server,
            services(
                subscriptions=Subscriptions(database),
                identities=Identities(database),
                caps=caps,
                places=Places(client, by_shard=config.redis_cluster),
                tokens=PageTokens.from_keys_file(config.server.keys_file),
                clock=clock,
            ),
            checks={"postgres": database.ping, "redis": partial(redis.ping, client)},
            workers=[caps.listen],
            self_validating=SELF_VALIDATING,
        )


if __name__ == "__main__":
    process.start("throttle", Config, main)
