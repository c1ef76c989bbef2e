"""One whole mesh for all stories of a test process, and a workspace of its own for each of them."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from mesh.callers import key_entry
from stack.keys import make_keys
from stack.plan import SERVICES
from stack.up import Stack
from tests.stories.world import TENANT, Mesh, World, connected

_SETTINGS = {
    # A retry of a test should not take as long as one that spares a provider.
    "DELIVERY_RETRY_FIRST_SECONDS": "0.2",
    "DELIVERY_POLL_SECONDS": "0.2",
    # Who stalls is let go when the story goes on, not when delivery has lost its patience.
    "DELIVERY_WEBHOOK_TIMEOUT_SECONDS": "60",
}

_numbers = count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """All five services as processes, with servers, sinks and a span collector."""
    folder = tmp_path_factory.mktemp("stack")
    keyring = _keyring_with_tenant(folder)
    settings = _SETTINGS | {"BECKON_KEYS_FILE": str(keyring)}
    async with (
        Stack(folder, ports="auto", settings=settings, durable=False) as stack,
        connected(stack.state, stack.state.admin_key) as channels,
        connected(stack.state, TENANT.key) as tenant_channels,
    ):
        yield Mesh(stack, channels, tenant_channels)


@pytest.fixture
def world(mesh: Mesh) -> Iterator[World]:
    """A workspace of the test's own; afterwards every process must be the one it was."""
    before = {name: mesh.stack.pid(name) for name in mesh.stack.processes}
    yield World(mesh, f"story-{next(_numbers)}")
    assert {name: mesh.stack.pid(name) for name in mesh.stack.processes} == before
    assert {name: mesh.stack.restarts(name) for name in mesh.stack.processes} == dict.fromkeys(
        before, 0
    )


def _keyring_with_tenant(folder: Path) -> Path:
    """Write the stack's own keyring with one caller more, who may enter one workspace."""
    _, files = make_keys(folder / "keys", SERVICES)
    entries = [key_entry(caller, file.read_text().strip()) for caller, file in files.items()]
    entries.append(
        key_entry(TENANT.caller, TENANT.key, workspaces=[TENANT.workspace], scopes=TENANT.scopes)
    )
    keyring = folder / "keyring-with-tenant.json"
    keyring.write_bytes(msgspec.json.encode(entries))
    return keyring
