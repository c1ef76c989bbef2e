"""Makes sure that around every call happens what must, in the order that makes it safe."""

import ast
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from mesh import client
from mesh.interceptors.callers import read_access
from mesh.server import Service, chain
from mesh.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("ingest", "profile", "trigger", "throttle", "delivery")
# A scope is what keys are made of: a new one belongs to whoever hands out keys, too.
SCOPES = {
    "addresses:read",
    "attributes:read",
    "attributes:write",
    "broadcasts:read",
    "broadcasts:write",
    "campaigns:read",
    "campaigns:trigger",
    "campaigns:write",
    "caps:read",
    "caps:write",
    "decisions:read",
    "deliveries:create",
    "deliveries:erase",
    "deliveries:read",
    "deliveries:write",
    "devices:read",
    "devices:retire",
    "devices:write",
    "erasures:record",
    "events:write",
    "identities:write",
    "profiles:erase",
    "profiles:export",
    "profiles:observe",
    "profiles:read",
    "profiles:write",
    "quarantine:read",
    "quarantine:write",
    "regions:read",
    "regions:write",
    "relations:read",
    "relations:write",
    "segments:read",
    "segments:write",
    "sends:read",
    "sends:reserve",
    "sends:settle",
    "settings:read",
    "settings:write",
    "subscriptions:read",
    "subscriptions:write",
    "templates:read",
    "templates:write",
    "traits:read",
    "traits:write",
}
# A stream ends when its caller ends it.
ENDLESS = {
    "beckon.ingest.v1.IngestService/StreamEvents",
    "beckon.profile.v1.ProfileService/ExportProfile",
    "beckon.profile.v1.RelationService/StreamRelated",
    "beckon.profile.v1.SegmentService/StreamSegmentMembers",
    "beckon.profile.v1.WatchService/StreamAudience",
}


def methods() -> Iterator[MethodDescriptor]:
    """Yield every method that we serve."""
    for path in sorted((ROOT / "protos" / "beckon").rglob("*.proto")):
        module = str(path.relative_to(ROOT / "protos").with_suffix("")).replace("/", ".") + "_pb2"
        for service in import_module(module).DESCRIPTOR.services_by_name.values():
            yield from service.methods


def called(method: MethodDescriptor) -> str:
    """Return the name by which interceptors know a method."""
    return f"{method.containing_service.full_name}/{method.name}"


def served() -> list[str]:
    """Return the full name of every proto service."""
    return sorted({str(method.containing_service.full_name) for method in methods()})


every_method = pytest.mark.parametrize("method", list(methods()), ids=called)


def test_the_chain_has_its_order(tmp_path: Path) -> None:
    """Logs see the code that errors made; strangers are sent away before anything costs."""
    keys = tmp_path / "keyring.json"
    keys.write_text("[]")
    services = [Service(lambda _: None, name) for name in served()]

    order = [
        getattr(middleware, "__name__", "")
        for middleware in chain(ServerSettings(keys_file=keys), services)
    ]

    assert order == [
        "follow_trace",
        "log_calls",
        "map_errors",
        "admit_call",
        "keep_deadline",
        "validate_call",
    ]


@every_method
def test_a_method_says_who_may_call_it_in_a_scope_that_keys_know(method: MethodDescriptor) -> None:
    rules = read_access([str(method.containing_service.full_name)])

    assert rules[called(method)].scope in SCOPES


def test_no_scope_is_left_over() -> None:
    assert {rule.scope for rule in read_access(served()).values()} == SCOPES


@every_method
def test_our_own_calls_of_a_method_end_in_time(method: MethodDescriptor) -> None:
    package = str(method.containing_service.file.package)

    timeouts = client._timeouts(client._service_config(package))

    timeout = timeouts.get(f"/{called(method)}")
    assert (timeout is None) == (called(method) in ENDLESS)
    assert timeout is None or 0 < timeout <= 30


@pytest.mark.parametrize("service", SERVICES)
def test_a_method_that_checks_for_itself_exists(service: str) -> None:
    """A name with a typing error would be checked twice, and nobody would notice but the clock."""
    module = import_module(f"services.{service}.__main__")
    tree = ast.parse((ROOT / "services" / service / "__main__.py").read_text())

    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "self_validating":
            expression = compile(ast.Expression(node.value), service, "eval")
            named |= eval(expression, vars(module))  # noqa: S307 — our own source, constants only

    assert named <= {called(method) for method in methods()}


@pytest.mark.parametrize("service", SERVICES)
def test_a_process_serves_every_service_of_its_package(service: str) -> None:
    source = (ROOT / "services" / service / "__main__.py").read_text()

    missing = [
        name
        for name in served()
        if name.startswith(f"beckon.{service}.") and name.rpartition(".")[2] not in source
    ]

    assert missing == []


@pytest.mark.parametrize("service", SERVICES)
def test_retries_are_the_service_configs_and_of_unavailable_only(service: str) -> None:
    config = json.dumps(client._service_config(f"beckon.{service}.v1"))

    assert '"retryableStatusCodes": ["UNAVAILABLE"]' in config
    assert '"round_robin"' in config
