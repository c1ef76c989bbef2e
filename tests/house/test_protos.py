"""Makes sure that every RPC says who may call it, how long it may take and whether it may be repeated.

That everything has a comment is checked by `buf lint`.
"""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from subprocess import run
from sys import executable

import pytest
from beckon.options.v1 import access_pb2
from google.api.field_behavior_pb2 import FieldBehavior, field_behavior
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("ingest", "profile", "trigger", "throttle", "delivery")
READS = re.compile("^(Get|List|BatchGet|Explain|Search|Count|Render)[A-Z]")
NO_SIDE_EFFECTS = MethodOptions.IdempotencyLevel.NO_SIDE_EFFECTS
IDEMPOTENT = MethodOptions.IdempotencyLevel.IDEMPOTENT
# Lists that are short by nature, and why.
UNPAGED = {"ListSubscriptions"}  # One for each channel.
# What makes a repeated request recognisable: an id of its own, or one in each of its items.
REPEAT_KEYS = {"request_id", "event_id", "sequence"}


def protos() -> Iterator[FileDescriptor]:
    """Yield every proto file of ours."""
    for path in sorted((ROOT / "protos" / "beckon").rglob("*.proto")):
        module = str(path.relative_to(ROOT / "protos").with_suffix("")).replace("/", ".") + "_pb2"
        yield import_module(module).DESCRIPTOR


def rpcs() -> list[MethodDescriptor]:
    """Return every method of every service."""
    return [
        method
        for proto in protos()
        for service in proto.services_by_name.values()
        for method in service.methods
    ]


def deadlines(service: str) -> dict[str, dict[str, object]]:
    """Return the configured method settings of `service` by full method name."""
    config = json.loads(files(f"beckon.{service}.v1").joinpath("service_config.json").read_text())
    return {
        f"{name['service']}.{name['method']}": entry
        for entry in config["methodConfig"]
        for name in entry["name"]
    }


def public(rpc: MethodDescriptor) -> bool:
    """Say whether callers of one workspace may use `rpc`; the others are between our services."""
    return bool(rpc.GetOptions().Extensions[access_pb2.access].workspace_field)


def full_name(rpc: MethodDescriptor) -> str:
    """Return how a report names `rpc`."""
    return str(rpc.full_name)


every_rpc = pytest.mark.parametrize("rpc", rpcs(), ids=full_name)
every_public_rpc = pytest.mark.parametrize(
    "rpc", [rpc for rpc in rpcs() if public(rpc)], ids=full_name
)


def test_every_service_has_protos() -> None:
    found = {proto.package.split(".")[1] for proto in protos() if proto.services_by_name}

    assert found == set(SERVICES)


@every_rpc
def test_an_rpc_names_the_scope_its_caller_needs(rpc: MethodDescriptor) -> None:
    access = rpc.GetOptions().Extensions[access_pb2.access]

    assert re.fullmatch(r"[a-z_]+:[a-z_]+", access.scope), f"scope {access.scope!r}"


@every_rpc
def test_an_rpc_says_where_its_request_names_the_workspace(rpc: MethodDescriptor) -> None:
    path = rpc.GetOptions().Extensions[access_pb2.access].workspace_field

    message: Descriptor | None = rpc.input_type
    for part in path.split(".") if path else ():
        assert message is not None, f"{path} steps into what is not a message"
        assert part in message.fields_by_name, f"{message.full_name} has no field {part}"
        field = message.fields_by_name[part]
        assert not field.is_repeated, f"{path}: one name, not many"
        message = field.message_type
    assert not path or field.type == field.TYPE_STRING, f"{path} is no name"


@every_rpc
def test_an_rpc_has_a_deadline_unless_it_streams(rpc: MethodDescriptor) -> None:
    service = rpc.containing_service.file.package.split(".")[1]
    entry = deadlines(service).get(rpc.full_name)

    assert entry is not None, f"missing in protos/beckon/{service}/v1/service_config.json"
    streams = rpc.client_streaming or rpc.server_streaming
    assert streams or re.fullmatch(r"\d+(\.\d+)?s", str(entry.get("timeout")))


@pytest.mark.parametrize("service", SERVICES)
def test_only_unavailable_is_retried(service: str) -> None:
    policies = [entry.get("retryPolicy") for entry in deadlines(service).values()]

    codes = [policy["retryableStatusCodes"] for policy in policies if isinstance(policy, dict)]
    assert all(code == ["UNAVAILABLE"] for code in codes)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_config_names_no_rpc_that_is_gone(service: str) -> None:
    known = {rpc.full_name for rpc in rpcs()}

    assert set(deadlines(service)) <= known


@every_rpc
def test_reading_has_no_side_effects_and_writing_admits_them(rpc: MethodDescriptor) -> None:
    reads = READS.match(rpc.name) is not None

    assert reads == (rpc.GetOptions().idempotency_level == NO_SIDE_EFFECTS)


@every_rpc
def test_a_change_can_be_repeated_safely(rpc: MethodDescriptor) -> None:
    level = rpc.GetOptions().idempotency_level
    if level == NO_SIDE_EFFECTS:
        return

    # Idempotent by nature, or by a key with which a repeat is recognised.
    assert level == IDEMPOTENT or REPEAT_KEYS & keys_of(rpc.input_type), "no request_id"


def keys_of(request: Descriptor) -> set[str]:
    """Return the names of the fields of `request` and of the items it carries."""
    own = set(request.fields_by_name)
    items = (field.message_type for field in request.fields if field.is_repeated)
    return own.union(*(set(item.fields_by_name) for item in items if item is not None))


@every_rpc
def test_a_list_comes_in_pages(rpc: MethodDescriptor) -> None:
    if not rpc.name.startswith("List") or rpc.name in UNPAGED:
        return

    assert {"page_size", "page_token"} <= set(rpc.input_type.fields_by_name)
    assert "next_page_token" in rpc.output_type.fields_by_name
    assert rpc.output_type.fields_by_number[1].is_repeated, "results are field 1"


@every_rpc
def test_an_update_says_which_fields(rpc: MethodDescriptor) -> None:
    if not rpc.name.startswith("Update"):
        return

    assert "update_mask" in rpc.input_type.fields_by_name


@every_public_rpc
def test_a_request_field_says_how_it_behaves(rpc: MethodDescriptor) -> None:
    silent = [
        field.name
        for field in rpc.input_type.fields
        if not field.GetOptions().Extensions[field_behavior]
    ]

    assert silent == []


@every_rpc
def test_no_request_field_is_only_for_output(rpc: MethodDescriptor) -> None:
    wrong = [
        field.name
        for field in rpc.input_type.fields
        if FieldBehavior.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior]
    ]

    assert wrong == []


def test_generated_code_is_what_the_protos_say() -> None:
    command = [executable, str(ROOT / "tools" / "gen.py"), "--check"]

    answer = run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stderr
