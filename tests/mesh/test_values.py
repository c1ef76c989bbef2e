"""Makes sure of what mesh computes without any server: names, ids, pages, masks, settings, keys."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest
from hypothesis import given
from hypothesis import strategies as st

from mesh import ids, names, settings, telemetry
from mesh.callers import BadKeys, KeyRing, key_entry
from mesh.clock import SystemClock
from mesh.errors import FieldViolation, InvalidArgument, invalid_field, to_rpc_status
from mesh.masks import apply_update
from mesh.pages import OrderKey, PageTokens, page_size
from mesh.settings import (
    BadSettings,
    ServerSettings,
    TelemetrySettings,
    group,
    load,
    server_settings,
    setting,
    settings_of,
)
from tests.mesh.conftest import Echo

WORKSPACES = st.from_regex(names.RESOURCE_ID_PATTERN, fullmatch=True)
IDS = st.from_regex(names.ID_PATTERN, fullmatch=True)


def test_the_clock_is_aware_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


@given(WORKSPACES, IDS)
def test_a_name_comes_back_as_it_went(workspace: str, identifier: str) -> None:
    name = names.format_name(workspace, "profiles", identifier)

    assert names.parse_name(name, "profiles") == (workspace, identifier)
    assert names.workspace_of(name) == workspace
    child = f"{name}/subscriptions/email"
    assert names.parse_child(child, "profiles", "subscriptions") == (
        workspace,
        identifier,
        "email",
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "profiles/p",
        "workspaces/w",
        "workspaces/w/profiles",
        "workspaces/w/profiles/",
        "workspaces/w/profiles/p/",
        "workspaces/w/profiles/p/q",
        "workspaces/W/profiles/p",
        "workspaces//profiles/p",
        "workspaces/w/campaigns/p",
        "workspaces/w/profiles/p\n",
        "workspaces/w\n/profiles/p",
        "workspaces/w/profiles/p\0",
        "workspaces/w/profiles/é",
        f"workspaces/w/profiles/{'p' * 129}",
        f"workspaces/{'w' * 64}/profiles/p",
    ],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        names.parse_name(name, "profiles", field="profile")
    assert caught.value.violations[0].field == "profile"


def test_ids_never_change() -> None:
    uid = ids.event_uid("acme", "order-1")
    enrollment = ids.enrollment_id(uid, "workspaces/acme/campaigns/c", "workspaces/acme/profiles/p")

    assert (str(uid), str(enrollment), str(ids.send_id(enrollment, "email"))) == EXPECTED_IDS
    assert ids.shard_of("acme", "ann") == EXPECTED_SHARD


EXPECTED_IDS = (
    "74295e1f-d9e6-5d2e-b7e9-dda20f7f355e",
    "fd8c6d5b-d7da-5078-894a-f4d059e97a7c",
    "89882d2a-125b-5d67-8afd-d68e9b8fd464",
)
EXPECTED_SHARD = 816


@given(WORKSPACES, st.lists(IDS))
def test_ids_made_together_are_those_made_one_by_one(workspace: str, event_ids: list[str]) -> None:
    assert ids.event_uids(workspace, event_ids) == [
        ids.event_uid(workspace, event_id) for event_id in event_ids
    ]


@given(WORKSPACES, IDS, st.integers(1, 1024))
def test_a_shard_is_in_bounds(workspace: str, profile: str, partitions: int) -> None:
    shard = ids.shard_of(workspace, profile)

    assert 0 <= shard < ids.SHARDS
    assert 0 <= shard % partitions < partitions


@given(st.tuples(IDS, IDS), st.tuples(IDS, IDS))
def test_two_pairs_have_two_ids(one: tuple[str, str], other: tuple[str, str]) -> None:
    event = ids.event_uid("acme", "e")

    same = ids.enrollment_id(event, *one) == ids.enrollment_id(event, *other)
    assert same == (one == other)


KEYS = st.tuples(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(),
        st.binary(),
        st.floats(allow_nan=False),
        st.datetimes(timezones=st.just(UTC)),
    ),
    st.text(),
)


@given(KEYS)
def test_a_page_token_comes_back_as_it_went(echo: Echo, key: OrderKey) -> None:
    tokens = PageTokens(b"secret")
    request = echo.pb.EchoRequest(name="n", word="w", page_size=10)
    request.page_token = tokens.write(request, key)
    request.page_size = 20

    assert tokens.read(request) == key
    request.page_token = ""
    assert tokens.read(request) is None


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{1,200}", fullmatch=True))
def test_a_token_of_others_is_refused(echo: Echo, token: str) -> None:
    if token:
        with pytest.raises(InvalidArgument):
            PageTokens(b"secret").read(echo.pb.EchoRequest(page_token=token))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_with_one_byte_changed_is_refused(echo: Echo, at: int, by: int) -> None:
    import base64

    tokens = PageTokens(b"secret")
    request = echo.pb.EchoRequest(name="n")
    token = tokens.write(request, ("abc", 7))
    sealed = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    sealed[at % len(sealed)] ^= by
    request.page_token = base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    with pytest.raises(InvalidArgument):
        tokens.read(request)


def test_a_token_of_another_request_or_secret_is_refused(echo: Echo) -> None:
    request = echo.pb.EchoRequest(name="n")
    token = PageTokens(b"secret").write(request, ("abc",))

    with pytest.raises(InvalidArgument, match="other fields"):
        PageTokens(b"secret").read(echo.pb.EchoRequest(name="m", page_token=token))
    with pytest.raises(InvalidArgument, match="not one of ours"):
        PageTokens(b"other").read(echo.pb.EchoRequest(name="n", page_token=token))


def test_a_token_may_have_a_field_of_another_name(echo: Echo) -> None:
    tokens = PageTokens(b"secret")
    request = echo.pb.EchoRequest(name="n", page_size=3)
    request.word = tokens.write(request, ("a", 1), field="word")

    assert tokens.read(request, field="word") == ("a", 1)
    assert tokens.read(request) is None
    request.word = "x"
    with pytest.raises(InvalidArgument, match="word is not one of ours"):
        tokens.read(request, field="word")


def test_the_page_size_has_bounds() -> None:
    assert [page_size(size) for size in (0, 1, 1000, 1001)] == [50, 1, 1000, 1000]
    with pytest.raises(InvalidArgument):
        page_size(-1)


def things(echo: Echo) -> tuple[Any, Any]:
    pb = echo.pb
    current = pb.Thing(
        name="n",
        title="old",
        place=pb.Place(town="Ulm", street="Long"),
        labels={"a": "1", "b": "2"},
        parts={"x": pb.Part(count=1)},
        state="active",
        tags=["t"],
        weight=3,
    )
    current.attributes.update({"tier": "gold", "age": 4})
    patch = pb.Thing(
        name="n",
        title="new",
        place=pb.Place(town="Bonn"),
        labels={"a": "9"},
        state="hacked",
        tags=["u", "v"],
    )
    patch.attributes.update({"tier": "silver"})
    return current, patch


@pytest.mark.parametrize(
    ("paths", "changes"),
    [
        (["title"], {"title": "new"}),
        (["place"], {"place": {"town": "Bonn"}}),
        (["place.town"], {"place": {"town": "Bonn", "street": "Long"}}),
        (["place.street"], {"place": {"town": "Ulm"}}),
        (["labels"], {"labels": {"a": "9"}}),
        (["labels.a"], {"labels": {"a": "9", "b": "2"}}),
        (["labels.b"], {"labels": {"a": "1"}}),
        (["labels.`b`"], {"labels": {"a": "1"}}),
        (["parts.x"], {"parts": None}),
        (["parts.y"], {}),
        (["attributes.tier"], {"attributes": {"tier": "silver", "age": 4.0}}),
        (["attributes.age"], {"attributes": {"tier": "gold"}}),
        (["tags"], {"tags": ["u", "v"]}),
        (["weight"], {"weight": None}),
        (["state"], {}),
        (["name"], {}),
        (["title", "title", "tags"], {"title": "new", "tags": ["u", "v"]}),
    ],
)
def test_a_mask_changes_what_it_names(
    paths: list[str], changes: dict[str, Any], echo: Echo
) -> None:
    from google.protobuf.json_format import MessageToDict

    current, patch = things(echo)
    expected = {**MessageToDict(current), **changes}
    updated, _ = apply_update(current, patch, FieldMask(paths=paths))

    assert MessageToDict(updated) == {k: v for k, v in expected.items() if v is not None}


def test_no_mask_takes_what_is_there_and_a_star_takes_all(echo: Echo) -> None:
    current, patch = things(echo)

    updated, taken = apply_update(current, patch, FieldMask())
    assert updated.title == "new"
    assert updated.weight == 3
    assert updated.state == "active"
    assert taken == ["title", "place", "labels", "tags", "attributes"]

    replaced, _ = apply_update(current, patch, FieldMask(paths=["*"]))
    assert not replaced.HasField("weight")
    assert not replaced.parts
    assert replaced.state == "active"
    assert replaced.name == "n"


@pytest.mark.parametrize(
    "path", ["nothing", "place.nothing", "title.x", "tags.0", "parts.x.count", "", "place.", "`a"]
)
def test_a_path_that_names_nothing_is_refused(path: str, echo: Echo) -> None:
    current, patch = things(echo)
    with pytest.raises(InvalidArgument) as caught:
        apply_update(current, patch, FieldMask(paths=["title", path]))
    assert caught.value.violations[0].field == "update_mask"


def test_a_name_cannot_be_changed(echo: Echo) -> None:
    current, patch = things(echo)
    patch.name = "other"
    with pytest.raises(InvalidArgument, match="never changes"):
        apply_update(current, patch, FieldMask(paths=["name"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    url: str = setting("T_URL", str, doc="A store", secret=True)
    lease: timedelta = setting(
        "T_LEASE", settings.seconds, default=timedelta(seconds=30), doc="How long"
    )
    batch: int = setting("T_BATCH", settings.integer(least=1, most=9), default=5, doc="How many")
    server: ServerSettings = server_settings("T", port=50059)
    telemetry: TelemetrySettings = group(TelemetrySettings, prefix="BECKON")


def test_settings_have_their_defaults() -> None:
    config = load(Config, {"T_URL": "u", "BECKON_KEYS_FILE": "/keys"})

    assert config.lease == timedelta(seconds=30)
    assert config.server.address == "127.0.0.1:50059"
    assert config.server.metrics_address == "127.0.0.1:50159"
    assert config.server.prefix == "T"
    assert config.telemetry.trace_ratio == 0.01
    assert "url" not in repr(config)


def test_all_problems_are_told_at_once() -> None:
    environ = {
        "T_LEASE": "soon",
        "T_BATCH": "10",
        "T_ADDRESS": "nowhere",
        "BECKON_TRACE_RATIO": "2",
        "BECKON_LOG_LEVEL": "loud",
        "BECKON_UVLOOP": "maybe",
    }
    with pytest.raises(BadSettings) as caught:
        load(Config, environ)

    named = [problem.split(" ")[0].rstrip(":") for problem in caught.value.problems]
    assert named == [
        "T_URL",
        "T_LEASE",
        "T_BATCH",
        "T_ADDRESS",
        "BECKON_KEYS_FILE",
        "BECKON_UVLOOP",
        "BECKON_LOG_LEVEL",
        "BECKON_TRACE_RATIO",
    ]
    assert "A store" in caught.value.problems[0]


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("from-file\n")
    environ = {"T_URL_FILE": str(secret), "T_URL": "ignored", "BECKON_KEYS_FILE": "/keys"}

    assert load(Config, environ).url == "from-file"
    with pytest.raises(BadSettings, match="T_URL_FILE: cannot read"):
        load(Config, {**environ, "T_URL_FILE": str(tmp_path / "none")})


def test_a_bad_secret_is_not_quoted() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Secretive:
        number: int = setting("N", int, doc="n", secret=True)

    with pytest.raises(BadSettings) as caught:
        load(Secretive, {"N": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_settings_can_be_listed() -> None:
    listed = {each.env: each for each in settings_of(Config)}

    assert listed["T_ADDRESS"].default == "127.0.0.1:50059"
    assert listed["T_URL"].required
    assert listed["T_URL"].secret
    assert "BECKON_TRACE_RATIO" in listed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30.0),
        ("1.5", 1.5),
        ("200ms", 0.2),
        ("2m", 120.0),
        ("12 h", 43200.0),
        ("7d", 604800.0),
    ],
)
def test_spans_are_read(text: str, expected: float) -> None:
    assert settings.seconds(text).total_seconds() == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (settings.seconds, "-1"),
        (settings.seconds, "1w"),
        (settings.seconds, "9" * 30),
        (settings.size, "4MB"),
        (settings.size, "-4"),
        (settings.address, "localhost"),
        (settings.address, "localhost:70000"),
        (settings.address, ":80"),
        (settings.boolean, "2"),
        (settings.ratio, "nan"),
        (settings.integer(), "1.0"),
    ],
)
def test_what_cannot_be_read_is_refused(parse: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|too long"):
        parse(text)


def test_sizes_and_addresses_are_read() -> None:
    assert settings.size("4MiB") == 4 << 20
    assert settings.address("[::]:50051") == "[::]:50051"
    assert settings.optional_address("off") == ""


def test_a_key_is_found_by_its_hash() -> None:
    ring = KeyRing.parse(
        json.dumps(
            [
                key_entry("a", "one", workspaces=["w"], scopes=["x"]),
                key_entry("a", "two"),
                key_entry("b", "three"),
            ]
        ).encode()
    )
    found = [ring.find(key) for key in ("one", "two", "three", "four", "")]

    assert [caller.name if caller else None for caller in found] == ["a", "a", "b", None, None]
    assert found[0] is not None
    assert found[0].may_enter("w")
    assert not found[0].may_enter("v")
    assert not found[0].has_scope("y")
    assert "three" not in repr(ring)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"caller": "a"}]',
        b'[{"caller": "a", "sha256": "xyz", "workspaces": [], "scopes": []}]',
        b'[{"caller": "a", "key": "plain", "sha256": "", "workspaces": [], "scopes": []}]',
    ],
)
def test_a_bad_keys_file_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadKeys):
        KeyRing.parse(content)
    with pytest.raises(BadKeys):
        KeyRing.load(tmp_path / "none")


def test_many_violations_are_counted_not_listed() -> None:
    error = invalid_field("a", "b")
    error.violations = tuple(FieldViolation(f"f{n}", "bad") for n in range(1000))

    assert len(to_rpc_status(error).SerializeToString()) < 4096


def test_what_a_caller_sent_fits_into_an_error() -> None:
    sent = "ü" * 100_000
    violations = [FieldViolation(f"{number}{sent}", sent, "rule") for number in range(10)]
    error = InvalidArgument(
        ErrorReason.ERROR_REASON_FIELD_INVALID, sent, metadata={"x": sent}, violations=violations
    )

    status = to_rpc_status(error)

    assert status.message.startswith("üü")
    assert status.message.endswith("…")
    # gRPC takes 8 KiB of trailers, the message once more in percents among them.
    assert len(status.SerializeToString()) + 3 * len(status.message.encode()) < 8192
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    listed = bad.field_violations[:-1]
    assert 0 < len(listed) < len(violations)
    assert bad.field_violations[-1].description == f"and {10 - len(listed)} more"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_that_cannot_be_written_stops_nobody(form: str) -> None:
    script = (
        "import sys, structlog\n"
        "from mesh import telemetry\n"
        "from mesh.settings import TelemetrySettings\n"
        f"telemetry.set_up('echo', TelemetrySettings(log_format={form!r}))\n"
        "for number in range(1000):\n"
        "    structlog.get_logger().info('told', number=number, text='x' * 100)\n"
        "sys.stderr.write('went on')\n"
    )
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert ended.stderr.startswith(b"went on")


def test_logs_hold_no_address(capfdbinary: Any) -> None:
    import structlog

    telemetry.set_up("test", TelemetrySettings(log_format="json"))
    try:
        log = structlog.get_logger("x")
        log.info("thing_done", to="ann@example.com", phone="+491701234567", at=timedelta(1))
        logging.getLogger("lib").warning("mail to bob@example.org failed")
        log.debug("not_shown")
        lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        logging.getLogger().handlers.clear()

    assert [line["event"] for line in lines] == ["thing_done", "library_logged"]
    assert lines[0]["service"] == "test"
    assert (lines[0]["to"], lines[0]["phone"]) == ("[address]", "[address]")
    assert lines[1]["message"] == "mail to [address] failed"
