"""Makes sure that the command answers at once, in both formats, and tells what it was not able to do."""

import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from beckon.profile.v1.profile_service_pb2 import Profile
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from typer.testing import CliRunner

from cli.__main__ import app
from cli.commands.profiles import parse_attributes
from cli.output import as_dict, enum_text
from cli.problems import Problem, Refusal, explain
from cli.session import Session, parse_targets
from cli.traces import draw
from mesh.errors import FieldViolation
from stack.spans import Span

COMMANDS = [
    "up",
    "status",
    "demo",
    "plan",
    "apply",
    "test",
    "explain",
    "trace",
    "events send",
    "messages list",
    "messages get",
    "messages redrive",
    "decisions explain",
    "campaigns list",
    "campaigns get",
    "campaigns launch",
    "campaigns pause",
    "campaigns archive",
    "campaigns versions",
    "campaigns rollback",
    "campaigns traffic",
    "campaigns trigger",
    "broadcasts list",
    "broadcasts get",
    "broadcasts watch",
    "broadcasts cancel",
    "templates list",
    "templates get",
    "templates render",
    "profiles list",
    "profiles get",
    "profiles events",
    "profiles set",
    "profiles explain",
    "profiles merge",
    "profiles unmerge",
    "profiles merges",
    "profiles erase",
    "profiles erasures list",
    "profiles erasures get",
    "profiles export",
    "profiles import",
    "attributes list",
    "attributes create",
    "devices register",
    "devices release",
    "devices list",
    "devices transfers",
    "relations put",
    "relations delete",
    "relations list",
    "relations related",
    "relations import",
    "traits list",
    "traits get",
    "traits create",
    "traits delete",
    "segments list",
    "segments get",
    "segments create",
    "segments update",
    "segments delete",
    "segments count",
    "segments members",
    "segments explain",
    "subscriptions list",
    "subscriptions set",
    "caps list",
    "caps set",
    "caps delete",
    "settings get",
    "settings set",
    "quarantine list",
    "quarantine replay",
    "inbox list",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    answer = CliRunner().invoke(app, [*command.split(), "--help"])

    assert answer.exit_code == 0
    assert f"beckon {command}" in answer.stdout


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['beckon', '--help']\n"
        "import contextlib, io\n"
        "from cli.__main__ import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main()\n"
        "print([name for name in ('grpc', 'google.protobuf', 'yaml', 'asyncpg', 'aiohttp', 'pyarrow')"
        " if name in sys.modules])"
    )

    answer = run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["campaigns", "list"], 1),
        (["campaigns", "frobnicate"], 2),
        (["trace", "nonsense"], 2),
        (["messages", "list", "--state", "gone", "--target", "127.0.0.1:1"], 2),
        (["campaigns", "list", "--target", "nowhere"], 2),
        (["subscriptions", "set", "ana", "email=maybe", "--target", "127.0.0.1:1"], 2),
        (["apply", "-f", "nowhere.yaml"], 2),
        (["demo", "--examples", "nowhere"], 2),
        (["profiles", "import", "nowhere.csv", "--target", "127.0.0.1:1"], 2),
        (["profiles", "import", "nowhere.csv", "--type", "a=b", "--target", "127.0.0.1:1"], 2),
        (["profiles", "erase", "ana", "--target", "127.0.0.1:1"], 2),
        (["profiles", "export", "--target", "127.0.0.1:1"], 2),
        (["profiles", "export", "ana", "--to", "a.csv", "--target", "127.0.0.1:1"], 2),
        (["devices", "register", "a", "--platform", "x", "--token", "t", "--target", "a:1"], 2),
        (["traits", "create", "a", "--event-type", "b", "--per", "year", "--target", "a:1"], 2),
        (["segments", "update", "a", "--target", "a:1"], 2),
        (["demo", "--delay", "soon"], 2),
    ],
)
def test_exit_codes_tell_refused_from_misused(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    environ = {"BECKON_STATE": str(tmp_path), "BECKON_KEY": "k"}

    answer = CliRunner().invoke(app, arguments, env=environ)

    assert answer.exit_code == code
    assert answer.stdout == ""
    assert "rror" in answer.stderr


def test_without_a_stack_the_way_to_one_is_told(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["campaigns", "list", "--stack", str(tmp_path)])

    assert "no stack runs on" in answer.stderr
    assert "beckon up" in answer.stderr


def test_a_program_gets_its_errors_as_json(tmp_path: Path) -> None:
    arguments = ["campaigns", "list", "--stack", str(tmp_path), "-o", "json"]

    answer = CliRunner().invoke(app, arguments)

    assert json.loads(answer.stderr)["error"]["reason"] == "STACK"


def test_a_service_that_is_away_is_named(tmp_path: Path) -> None:
    environ = {"BECKON_KEY": "k", "BECKON_TARGET": "127.0.0.1:1", "BECKON_STATE": str(tmp_path)}

    answer = CliRunner().invoke(app, ["campaigns", "list"], env=environ)

    assert answer.exit_code == 1
    assert "trigger does not answer" in answer.stderr
    assert "hint" in answer.stderr


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("", {}),
        ("localhost:1", {"": "localhost:1"}),
        ("ingest=a:1,trigger=b:2", {"ingest": "a:1", "trigger": "b:2"}),
    ],
)
def test_targets_are_one_or_one_for_each_service(text: str, targets: dict[str, str]) -> None:
    assert parse_targets(text) == targets


@pytest.mark.parametrize("text", ["localhost", "mail=a:1", "ingest=a"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        parse_targets(text)


def test_ids_become_names_and_names_stay() -> None:
    session = Session(workspace="shop")

    assert session.name("campaigns", "cart") == "workspaces/shop/campaigns/cart"
    assert session.name("campaigns", "workspaces/x/campaigns/y") == "workspaces/x/campaigns/y"


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("name=Ana", {"name": "Ana"}),
        ("visits:=3", {"visits": 3}),
        ("gone:=null", {"gone": None}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_attributes_are_text_or_json(pair: str, expected: dict[str, Any]) -> None:
    assert parse_attributes([pair]) == expected


@pytest.mark.parametrize("pair", ["name", "=x", ":=3", "visits:=three"])
def test_what_is_no_attribute_is_refused(pair: str) -> None:
    with pytest.raises(Problem):
        parse_attributes([pair])


def test_a_refusal_comes_with_what_would_help() -> None:
    refusal = Refusal(
        code="PERMISSION_DENIED",
        reason="SCOPE_MISSING",
        message="no",
        metadata={"caller": "ci", "scope": "events:write"},
    )

    problem = explain(refusal)

    assert problem.hint == "the key of `ci` needs the scope `events:write`"


@pytest.mark.parametrize(
    ("name", "pattern", "hint"),
    [
        ("merges/x", "merges/[0-9a-f-]{36}$", "36 characters"),
        ("segments/Bad", "segments/[a-z][a-z0-9-]{0,62}$", "a-z, 0-9 and -"),
        ("traits/Bad", "traits/[a-z][a-z0-9_]{0,62}$", "a-z, 0-9 and _"),
    ],
)
def test_who_misspells_an_id_is_told_how_ids_are_spelt(name: str, pattern: str, hint: str) -> None:
    said = f"name: does not match regex pattern `^workspaces/[a-z][a-z0-9-]{{0,62}}/{pattern}`"
    refusal = Refusal(code="INVALID_ARGUMENT", reason="FIELD_INVALID", message=said)

    assert hint in explain(refusal).hint


def test_nobody_is_told_of_states_that_would_help_where_none_would() -> None:
    refusal = Refusal(
        code="FAILED_PRECONDITION",
        reason="STATE_FORBIDS",
        message="workspaces/main/campaigns/cart does not begin by request",
        metadata={"state": "ACTIVE"},
    )

    assert explain(refusal).hint == ""


def test_a_field_is_named_once() -> None:
    wrong = FieldViolation("kind", "kind: must be snake_case")
    refusal = Refusal(
        code="INVALID_ARGUMENT",
        reason="FIELD_INVALID",
        message="kind: must be snake_case",
        violations=[wrong],
    )

    assert explain(refusal).details == ()


def test_documents_have_the_protos_names() -> None:
    document = as_dict(Campaign(display_name="x", state=Campaign.STATE_ACTIVE))

    assert document["display_name"] == "x"
    assert document["critical"] is False


def test_whole_numbers_are_written_as_such() -> None:
    profile = Profile()
    profile.attributes.update({"visits": 3, "share": 0.5, "past": [1, None]})

    assert as_dict(profile)["attributes"] == {"visits": 3, "share": 0.5, "past": [1, None]}
    assert "3.0" not in json.dumps(as_dict(profile))


def test_enums_are_written_as_people_say_them() -> None:
    assert enum_text(Campaign(state=Campaign.STATE_ACTIVE), "state") == "active"


def a_span(name: str, parent: str, start: int, end: int, error: str = "") -> Span:
    return Span(
        trace_id="t",
        span_id=name,
        parent_span_id=parent,
        service="ingest",
        name=name,
        start_time=start * 1_000_000,
        end_time=end * 1_000_000,
        error=error,
    )


def test_a_trace_is_drawn_with_offsets_from_its_beginning() -> None:
    lines = draw(
        [
            a_span("event", "", 1000, 1010),
            a_span("deliver", "event", 1020, 1100),
            a_span("send", "deliver", 1050, 1100, error="550"),
            a_span("judge", "event", 1010, 1020),
        ]
    )

    assert [line.partition("ingest")[0].rstrip() for line in lines] == [
        "event",
        "├─ judge",
        "└─ deliver",
        "   └─ send",
    ]
    assert "+50 ms" in lines[3]
    assert lines[3].endswith("error: 550")
