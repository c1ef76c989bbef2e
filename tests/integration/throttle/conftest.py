"""Fixtures: a running throttle of the test's own workspace."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import msgspec
import pytest

from mesh.callers import key_entry
from mesh.settings import ServerSettings
from tests.integration.throttle.world import ACME_KEY, KEY, FakeClock, Throttle, running


@pytest.fixture
async def settings(tmp_path: Path) -> ServerSettings:
    keys = tmp_path / "keys.json"
    entries = [key_entry("tests", KEY), key_entry("acme", ACME_KEY, workspaces=["acme"])]
    keys.write_bytes(msgspec.json.encode(entries))
    return ServerSettings(
        prefix="THROTTLE",
        address="127.0.0.1:0",
        keys_file=keys,
        drain=timedelta(0),
        grace=timedelta(seconds=2),
        health_interval=timedelta(milliseconds=200),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def throttle(
    postgres_url: str,
    redis_url: str,
    settings: ServerSettings,
    clock: FakeClock,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Throttle]:
    workspace = f"w{uuid5(NAMESPACE_URL, request.node.nodeid).hex}"
    async with running(postgres_url, redis_url, settings, clock, workspace) as started:
        yield started
