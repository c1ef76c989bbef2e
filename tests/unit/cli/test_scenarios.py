"""Makes sure that `beckon test` plays scenario files, and says what is wrong with them and where."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.__main__ import app

ROOT = Path(__file__).resolve().parents[3]
SCENARIOS = ROOT / "scenarios"
GOOD = """\
name: Thanks for each order
campaigns:
  - id: thanks
    trigger: {event_type: order_placed}
    reentry_interval: 0s
    message: {channel: email, template: thanks}
profiles:
  ana:
steps:
  - at: 2026-03-02 10:00
    event: order_placed
    id: o1
  - expect: {}
"""
STORIES = [f"S{number}" for number in (*range(1, 12), 13, 14, 20, 23, 25)]
MEANINGS = (
    "Duplicate event",
    "Late event",
    "Cap window",
    "Cap counts",
    "Cap reached",
    "Quiet hours",
    "Missed send window",
    "Re-eligibility",
    "Exception",
    "Audience",
    "DST",
    "Digest",
    "Provider retry",
    "Refused record",
)


def play(folder: Path, text: str, *options: str) -> Result:
    file = folder / "story.yaml"
    file.write_text(text)
    return CliRunner().invoke(app, ["test", str(file), *options])


def scenarios() -> list[dict[str, str]]:
    return [
        document
        for file in sorted(SCENARIOS.glob("*.yaml"))
        for document in yaml.load_all(file.read_text(), Loader=yaml.BaseLoader)
    ]


def test_every_scenario_of_the_repository_passes() -> None:
    answer = CliRunner().invoke(app, ["test", str(SCENARIOS)])

    assert answer.exit_code == 0, answer.output
    assert re.search(r"^\d+ scenarios in [\d.]+ s$", answer.output, re.MULTILINE)


def test_there_are_scenarios_of_every_story_and_every_meaning_that_the_engine_tells() -> None:
    found = scenarios()

    assert len(found) >= 60
    assert {one.get("story") for one in found} >= set(STORIES)
    assert {one.get("meaning") for one in found} >= set(MEANINGS)


@pytest.mark.parametrize("file", sorted(SCENARIOS.glob("*.yaml")), ids=lambda file: file.name)
def test_editors_are_told_what_the_decoder_takes(file: Path) -> None:
    class Loader(yaml.SafeLoader):
        """Reads times as the text that they are."""

    Loader.yaml_implicit_resolvers = {
        first: [one for one in resolvers if not one[0].endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    schema = json.loads((ROOT / "docs" / "schema" / "scenario.schema.json").read_text())
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema)

    for document in yaml.load_all(file.read_text(), Loader=Loader):
        assert [error.message for error in validator.iter_errors(document)] == []


def test_what_is_as_expected_is_a_dot_and_a_zero(tmp_path: Path) -> None:
    answer = play(tmp_path, GOOD)

    assert answer.exit_code == 0
    assert f"{tmp_path}/story.yaml ." in answer.output


def test_a_message_that_is_missing_is_told_with_the_gates_that_refused_it(tmp_path: Path) -> None:
    text = GOOD.replace(
        "trigger: {event_type: order_placed}",
        "trigger: {event_type: order_placed, filter: event.properties.total > 10.0}",
    )

    answer = play(tmp_path, text)

    assert answer.exit_code == 1
    assert "- expected   2026-03-02 10:00  to ana  thanks" in answer.output
    assert f"{tmp_path}/story.yaml:13" in answer.output
    assert re.search(r"✗ 2026-03-02 10:00 +filter +Key not found in map", answer.output)
    assert answer.output.rstrip().endswith("0 passed, 1 failed")


def test_a_message_that_nobody_expects_fails(tmp_path: Path) -> None:
    answer = play(tmp_path, GOOD.replace("  - expect: {}\n", ""))

    assert answer.exit_code == 1
    assert "+ unexpected 2026-03-02 10:00  to ana  thanks" in answer.output


def test_a_message_that_is_nearly_right_is_told_beside_what_was_expected(tmp_path: Path) -> None:
    answer = play(tmp_path, GOOD.replace("expect: {}", "expect: {template: sorry, at: +5m}"))

    assert "- expected   2026-03-02 10:05  to ana  thanks  template sorry" in answer.output
    assert "+ but        2026-03-02 10:00  to ana  thanks  email  template thanks" in answer.output
    assert "other      at, template" in answer.output


BOUGHT = GOOD.replace(
    "profiles:",
    "    goals: [{id: ordered, event_type: order_placed, value_property: total}]\nprofiles:",
)
BOUGHT += """\
  - at: +1d
    event: order_placed
    properties: {total: 20.0}
  - expect: {}
  - reach: {goal: ordered, to: ana, event: o1, value: 20.0}
"""


def test_goals_are_held_against_what_was_reached(tmp_path: Path) -> None:
    assert play(tmp_path, BOUGHT).exit_code == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("at: +1d", "- expected   2026-03-12 10:00  ana reaches ordered  thanks  for o1  worth 20"),
        ("value: 20.0", "+ unexpected 2026-03-03 10:00  ana reaches ordered  thanks  for o1"),
    ],
)
def test_a_goal_that_is_not_as_expected_fails(tmp_path: Path, line: str, told: str) -> None:
    other = {"at: +1d": "at: +10d", "value: 20.0": "value: 21.0"}[line]

    answer = play(tmp_path, BOUGHT.replace(line, other))

    assert answer.exit_code == 1
    assert told in answer.output


def test_a_refusal_that_did_not_come_fails(tmp_path: Path) -> None:
    answer = play(tmp_path, f"{GOOD}  - refuse: {{gate: reentry}}\n")

    assert answer.exit_code == 1
    assert "thanks  refused by reentry" in answer.output


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        (
            "event: order_placed",
            "evnt: order_placed",
            "story.yaml:10:5: steps[0]: says none (did you mean `event`?)",
        ),
        ("profiles:", "profile:", "story.yaml:7:1: profile: no such field (did you mean"),
        ("2026-03-02 10:00", "tomorrow", "story.yaml:10:9: at: 'tomorrow' is no time"),
        (
            "2026-03-02 10:00",
            "2026-03-29 02:30 Europe/Berlin",
            "clocks in Europe/Berlin never show 2026-03-29T02:30",
        ),
        ("channel: email", "channel: owl", "story.yaml:6:24: message.channel: 'owl' is none"),
        ("expect: {}", "expect: {campaign: x}", "story.yaml:13:24: campaign: 'x' is no campaign"),
        (
            "{event_type: order_placed}",
            '{event_type: order_placed, filter: "1 +"}',
            "story.yaml:4:",
        ),
    ],
)
def test_a_file_that_is_wrong_is_told_by_line_and_field(
    tmp_path: Path, wrong: str, right: str, told: str
) -> None:
    answer = play(tmp_path, GOOD.replace(wrong, right, 1))

    assert answer.exit_code == 2
    assert told in answer.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Template\nid: a\n", "story.yaml:1:1: a manifest, no scenario; scenarios name it"),
        (
            GOOD.replace("2026-03-02 10:00", "2026-03-29 02:30 Europe/Berlin"),
            "story.yaml:10:9: at: clocks in Europe/Berlin never show 2026-03-29T02:30",
        ),
    ],
)
def test_one_mistake_is_told_once(tmp_path: Path, text: str, told: str) -> None:
    answer = play(tmp_path, text)

    assert answer.exit_code == 2
    assert "1 fault in the files" in answer.output
    assert told in answer.output


def test_a_step_that_cannot_be_is_told_as_such(tmp_path: Path) -> None:
    text = GOOD.replace("    id: o1\n", "    of: thanks\n", 1)

    answer = play(tmp_path, text)

    assert answer.exit_code == 1
    assert "cannot be played: ana has had no message of thanks" in answer.output
    assert f"{tmp_path}/story.yaml:10" in answer.output


def test_programs_read_json(tmp_path: Path) -> None:
    answer = play(tmp_path, GOOD, "--output", "json")

    found = json.loads(answer.output)
    assert found["outcome"] == "passed"
    assert found["messages"][0]["event"] == "o1"


def test_build_servers_read_junit(tmp_path: Path) -> None:
    answer = play(tmp_path, GOOD.replace("  - expect: {}\n", ""), "--output", "junit")

    suite = ET.fromstring(answer.output)  # noqa: S314 — our own
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.text
    assert "unexpected" in failure.text


def test_the_first_that_fails_is_the_last_that_is_played(tmp_path: Path) -> None:
    bad = GOOD.replace("expect: {}", "expect: {template: sorry}")

    answer = play(tmp_path, f"{bad}---\n{bad}", "-x", "-v")

    assert "1 scenario in" in answer.output


def test_a_keyword_chooses(tmp_path: Path) -> None:
    other = GOOD.replace("Thanks for each order", "Something else")

    assert "1 scenario in" in play(tmp_path, f"{GOOD}---\n{other}", "-k", "something").output
    assert play(tmp_path, GOOD, "-k", "nothing").exit_code == 2
