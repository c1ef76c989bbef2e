"""Makes sure that every command does on a real stack what it says, told as stories."""

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import yaml

from cli.manifests.places import Place
from tests.integration.cli.conftest import Answer, Beckon

EXAMPLES = Path(__file__).parents[3] / "examples"

WELCOME = """\
kind: Campaign
id: welcome
state: active
trigger:
  event_type: signed_up
reentry_interval: 0s
message:
  channel: email
  template: welcome
---
kind: Template
id: welcome
email:
  subject: Welcome, {{ profile.attributes.first_name }}
  text: Hello {{ profile.attributes.first_name }}
defaults:
  profile.attributes.first_name: there
"""


def events_file(folder: Path, *events: dict[str, Any], zipped: bool = False) -> str:
    """Return a file of events, as lines of JSON."""
    text = "".join(json.dumps(event) + "\n" for event in events)
    file = folder / "events.jsonl"
    file.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    return str(file)


def signed_up(number: int, profile: str = "ana", **more: Any) -> dict[str, Any]:
    return {"event_id": f"e-{number}", "type": "signed_up", "profile": profile, **more}


def manifest(folder: Path, text: str) -> str:
    file = folder / "manifest.yaml"
    file.write_text(text)
    return str(file)


def subscribe(beckon: Beckon, *profiles: str) -> None:
    for profile in profiles:
        beckon("profiles", "set", profile, "--email", f"{profile}@{beckon.workspace}.example.com")
        beckon("subscriptions", "set", profile, "email=subscribed")


def arrivals(beckon: Beckon, *profiles: str) -> list[dict[str, Any]]:
    """Return the mails to people of this workspace, once each has one."""
    found: list[dict[str, Any]] = []
    for profile in profiles:
        to = f"{profile}@{beckon.workspace}.example.com"
        answer = beckon.until(
            lambda said: bool(said.stdout), "inbox", "list", "--to", to, "-o", "json"
        )
        found += answer.documents
    return found


def column(answer: Answer, name: str) -> Sequence[Any]:
    return [document[name] for document in answer.documents]


def test_the_stack_says_where_everything_is(beckon: Beckon) -> None:
    status = beckon("status", "-o", "json").document

    assert {one["name"] for one in status["services"]} == {
        "ingest",
        "profile",
        "trigger",
        "throttle",
        "delivery",
    }
    assert all(one["serving"] for one in status["services"])
    assert Path(status["key_file"]).exists()


def test_applying_twice_changes_nothing_the_second_time(beckon: Beckon) -> None:
    folder = str(EXAMPLES / "campaigns")

    dry = beckon("apply", "-f", folder, "--dry-run", "-o", "json")
    nothing = beckon("campaigns", "list", "-o", "json")
    first = beckon("apply", "-f", folder, "-o", "json")
    second = beckon("apply", "-f", folder, "-o", "json")

    assert set(column(dry, "action")) == set(column(first, "action")) == {"created"}
    assert nothing.stdout == ""
    assert {one["state"] for one in first.documents if one["kind"] == "Campaign"} == {"active"}
    assert set(column(second, "action")) == {"unchanged"}
    assert set(column(second, "moved")) == {""}


def test_a_change_is_named_and_is_the_only_one(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", "-f", manifest(tmp_path, WELCOME))
    changed = WELCOME.replace("Hello", "Dear").replace("state: active", "state: paused\ndelay: 2h")

    answer = beckon("apply", "-f", manifest(tmp_path, changed), "-o", "json")

    template, campaign = answer.documents
    assert (template["action"], template["fields"]) == ("updated", ["email.text"])
    assert (campaign["action"], campaign["fields"]) == ("updated", ["delay"])
    assert (campaign["moved"], campaign["state"]) == ("paused", "paused")
    assert "2h" in beckon("campaigns", "get", "welcome").stdout


def test_what_a_service_refuses_is_told_by_line_with_nothing_written(
    beckon: Beckon, tmp_path: Path
) -> None:
    file = manifest(
        tmp_path,
        WELCOME.replace(
            "event_type: signed_up", "event_type: signed_up\n  filter: event.properties. > 3"
        ).replace("text: Hello", "text: Hello {{ evnt.id }}"),
    )

    answer = beckon("apply", "-f", file, "-o", "json", code=1)

    details = json.loads(answer.stderr)["error"]["details"]
    assert details[0]["where"] == str(Place(Path(file), 6, 29))
    assert "evnt is unknown" in details[1]["what"]
    assert details[1]["where"].startswith(f"{file}:16:")
    assert beckon("templates", "list", "-o", "json").stdout == ""


def test_a_campaign_needs_a_template_that_is_there_and_fits(beckon: Beckon, tmp_path: Path) -> None:
    missing = WELCOME.replace("template: welcome", "template: wellcome")
    other = WELCOME.replace("channel: email", "channel: webhook")

    for text, why in ((missing, "no template 'wellcome'"), (other, "has no webhook")):
        answer = beckon("apply", "-f", manifest(tmp_path, text), code=1)
        assert why in answer.stderr
        assert "message.template" in answer.stderr

    assert beckon("campaigns", "list", "-o", "json").stdout == ""


def test_what_campaigns_get_prints_applies_unchanged(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", "-f", str(EXAMPLES / "campaigns"))
    printed = [beckon(kind, "get", "abandoned-cart").stdout for kind in ("campaigns", "templates")]
    assert [yaml.safe_load(text)["id"] for text in printed] == ["abandoned-cart"] * 2

    answer = beckon("apply", "-f", manifest(tmp_path, "\n---\n".join(printed)), "-o", "json")

    assert column(answer, "action") == ["unchanged", "unchanged"]


def test_a_campaign_is_moved_through_its_states(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", "-f", manifest(tmp_path, WELCOME.replace("state: active\n", "")))

    states = [
        beckon("campaigns", move, "welcome", "-o", "json").document["state"]
        for move in ("launch", "pause", "launch", "archive")
    ]

    assert states == ["STATE_ACTIVE", "STATE_PAUSED", "STATE_ACTIVE", "STATE_ARCHIVED"]
    assert beckon("campaigns", "list", "-o", "json").stdout == ""
    assert len(beckon("campaigns", "list", "--all", "-o", "json").documents) == 1
    refused = beckon("campaigns", "launch", "welcome", code=1)
    assert "STATE_FORBIDS" in refused.stderr


def test_an_event_becomes_a_mail_with_decision_and_trace(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", "-f", manifest(tmp_path, WELCOME))
    subscribe(beckon, "ana", "ben")
    beckon("profiles", "set", "ana", "first_name=Ana")

    sent = beckon(
        "events",
        "send",
        "-f",
        events_file(tmp_path, signed_up(1), signed_up(2, "ben")),
        "-o",
        "json",
    )

    assert sent.document["accepted_count"] == 2
    mails = arrivals(beckon, "ana", "ben")
    assert [mail["subject"] for mail in mails] == ["Welcome, Ana", "Welcome, there"]
    [message] = beckon.until(
        lambda said: column(said, "state") == ["STATE_SENT"],
        *("messages", "list", "--profile", "ana", "-o", "json"),
    ).documents
    assert beckon("messages", "get", message["name"]).stdout.startswith("message ")
    [decision] = beckon("decisions", "explain", "-p", "ana", "-o", "json").documents
    assert decision["state"] == "STATE_SENT"
    assert decision["delivery"] == message["name"]
    assert {gate["passed"] for gate in decision["gates"]} == {True}
    stages = ("event", "log.wait", "observe", "judge", "send")
    beckon.until(
        lambda said: all(f'"{stage}"' in said.stdout for stage in stages),
        *("trace", message["name"], "-o", "json"),
    )
    drawn = beckon("trace", decision["trace_id"]).stdout
    assert "└─ send" in drawn


def test_who_was_never_asked_hears_nothing_and_why(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", "-f", manifest(tmp_path, WELCOME))
    beckon("events", "send", "-f", events_file(tmp_path, signed_up(1)))

    answer = beckon.until(lambda said: "exited" in said.stdout, "decisions", "explain", "-p", "ana")

    assert "✗ consent" in answer.stdout
    assert "exited by consent" in answer.stdout


def test_the_owner_of_a_review_hears_of_a_comment_and_never_of_her_own(beckon: Beckon) -> None:
    beckon("apply", "-f", str(EXAMPLES / "campaigns"))
    subscribe(beckon, "ana", "ben")

    beckon("events", "send", "-f", str(EXAMPLES / "events" / "comments.jsonl"))

    subjects = [mail["subject"] for mail in arrivals(beckon, "ana", "ben")]
    assert subjects == [
        "Ben commented on your review of Douro Tinto 2019",
        "Somebody commented on your review of Rheingau Riesling 2021",
    ]
    own = beckon("decisions", "explain", "-p", "ana", "--event", "comment-2")
    assert "✗ recipient" in own.stdout


def test_refused_lines_are_named_and_all_others_are_in(beckon: Beckon, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = [
        json.dumps(signed_up(1)),
        "not json",
        json.dumps(signed_up(2, type="Signed Up")),
        "",
        json.dumps(signed_up(3, occur_time="9999-12-31T23:59:59Z")),
        json.dumps(signed_up(4)),
    ]
    file.write_text("\n".join(lines))
    errors = tmp_path / "errors.jsonl"

    answer = beckon("events", "send", "-f", str(file), "--errors", str(errors), code=1)

    assert "2 accepted (0 known before), 3 refused" in answer.stdout
    refused = [json.loads(line) for line in errors.read_text().splitlines()]
    assert sorted(one["line"] for one in refused) == [2, 3, 5]
    assert {one["line"]: one["reason"] for one in refused} == {
        2: "LINE_INVALID",
        3: "FIELD_INVALID",
        5: "FIELD_INVALID",
    }
    assert "line 5: occur_time" in answer.stderr


def test_the_client_that_the_documentation_shows_works(beckon: Beckon) -> None:
    page = (EXAMPLES.parent / "docs" / "integrating.md").read_text()
    script = page.partition("```python\n")[2].partition("```")[0]
    stack = beckon("status", "-o", "json").document
    [address] = [one["address"] for one in stack["services"] if one["name"] == "ingest"]
    command = [sys.executable, "-c", script, address, stack["key_file"]]

    first, again = (run(command, capture_output=True, text=True, check=True) for _ in range(2))

    assert first.stdout == "1 accepted, 0 of them known before\n"
    assert again.stdout == "1 accepted, 1 of them known before\n"


def test_a_file_sent_twice_has_no_second_effect(beckon: Beckon, tmp_path: Path) -> None:
    file = events_file(tmp_path, *(signed_up(number) for number in range(50)), zipped=True)

    beckon("events", "send", "-f", file, "--batch", "7")
    again = beckon("events", "send", "-f", file, "--batch", "9", "-o", "json").document

    assert (again["accepted_count"], again["duplicate_count"]) == (50, 50)


def test_an_id_used_for_something_else_is_refused(beckon: Beckon, tmp_path: Path) -> None:
    beckon("events", "send", "-f", events_file(tmp_path, signed_up(1)))

    answer = beckon("events", "send", "-f", events_file(tmp_path, signed_up(1, "ben")), code=1)

    assert "EVENT_ID_REUSED" in answer.stderr


def test_sending_goes_on_where_it_stopped(beckon: Beckon, tmp_path: Path) -> None:
    progress = str(tmp_path / "progress")
    first = [signed_up(number) for number in range(10)]
    beckon("events", "send", "-f", events_file(tmp_path, *first), "--resume", progress)

    more = events_file(tmp_path, *first, *(signed_up(number) for number in range(10, 14)))
    answer = beckon("events", "send", "-f", more, "--resume", progress, "-o", "json")

    assert answer.document["accepted_count"] == 4
    assert answer.document["duplicate_count"] == 0
    third = beckon("events", "send", "-f", more, "--resume", progress, "-o", "json")
    assert third.document["accepted_count"] == 0


def test_a_long_list_is_read_to_its_end(beckon: Beckon, tmp_path: Path) -> None:
    people = [signed_up(number, f"p-{number}") for number in range(1203)]
    beckon("events", "send", "-f", events_file(tmp_path, *people))

    answer = beckon.until(
        lambda said: len(said.documents) == 1203, "profiles", "list", "-o", "json"
    )

    assert len(set(column(answer, "name"))) == 1203
    assert len(beckon("profiles", "list", "--limit", "1001", "-o", "json").documents) == 1001


def test_a_person_is_shown_as_known(beckon: Beckon, tmp_path: Path) -> None:
    beckon("profiles", "set", "ana", "--time-zone", "Europe/Lisbon", "tier=gold", "visits:=3")
    beckon("profiles", "set", "ana", "visits:=null", "--locale", "pt-PT")
    beckon("events", "send", "-f", events_file(tmp_path, signed_up(1, properties={"plan": "free"})))

    history = beckon.until(
        lambda said: bool(said.stdout), "profiles", "events", "ana", "-o", "json"
    )

    assert history.document["properties"] == {"plan": "free"}
    known = beckon("profiles", "get", "ana", "-o", "json").document
    assert known["attributes"] == {"tier": "gold"}
    assert (known["time_zone"], known["locale"]) == ("Europe/Lisbon", "pt-PT")
    assert "counter    signed_up: 1" in beckon("profiles", "get", "ana").stdout


def test_a_wrong_time_zone_is_a_bad_field(beckon: Beckon) -> None:
    answer = beckon("profiles", "set", "ana", "--time-zone", "Mars/Olympus", code=1)

    assert "FIELD_INVALID" in answer.stderr


def test_caps_are_set_and_removed(beckon: Beckon) -> None:
    beckon("caps", "set", "daily", "--limit", "2", "--per", "day", "--channel", "email")
    beckon("caps", "set", "hourly", "--limit", "1", "--per", "1h", "--on-breach", "defer")

    listed = beckon("caps", "list").stdout

    assert "the recipient's day" in listed
    assert "any 1h" in listed
    beckon("caps", "delete", "daily")
    assert column(beckon("caps", "list", "-o", "json"), "name") == [
        f"workspaces/{beckon.workspace}/frequencyCaps/hourly"
    ]
    assert "RESOURCE_NOT_FOUND" in beckon("caps", "delete", "daily", code=1).stderr


def test_settings_of_a_workspace_are_set_one_by_one(beckon: Beckon) -> None:
    assert "UTC" in beckon("settings", "get").stdout
    beckon("settings", "set", "--time-zone", "Asia/Kolkata")

    changed = beckon("settings", "set", "--holdout-percent", "2.5", "-o", "json").document

    assert (changed["time_zone"], changed["holdout_percent"]) == ("Asia/Kolkata", 2.5)
    assert beckon("settings", "set", "--time-zone", "", "-o", "json").document["time_zone"] == ""
    assert "settings.time_zone" in beckon("settings", "set", "--time-zone", "Mars", code=1).stderr
    assert "nothing to set" in beckon("settings", "set", code=2).stderr


def test_hours_that_mean_nothing_are_told_by_line(beckon: Beckon, tmp_path: Path) -> None:
    hours = 'send_window:\n  ranges:\n    - {start: "09:00", end: "09:00"}\n'
    file = manifest(tmp_path, WELCOME.replace("reentry_interval: 0s\n", hours))

    answer = beckon("apply", "-f", file, "-o", "json", code=1)

    [fault] = json.loads(answer.stderr)["error"]["details"]
    assert "a whole day is 00:00 to 00:00" in fault["what"]
    assert fault["where"] == str(Place(Path(file), 8, 30))


def test_subscriptions_are_listed_decided_or_not(beckon: Beckon) -> None:
    beckon("subscriptions", "set", "ana", "email=unsubscribed")

    listed = beckon("subscriptions", "list", "ana", "-o", "json")

    states = {one["channel"]: one["state"] for one in listed.documents}
    assert states == {
        "CHANNEL_EMAIL": "STATE_UNSUBSCRIBED",
        "CHANNEL_WEBHOOK": "STATE_UNDECIDED",
    }


def test_a_template_is_rendered_with_given_data(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", "-f", manifest(tmp_path, WELCOME))
    data = tmp_path / "data.json"
    data.write_text('{"profile": {"attributes": {"first_name": "Ana"}}}')

    answer = beckon("templates", "render", "welcome", "--data", f"@{data}")

    assert answer.stdout.startswith("Subject: Welcome, Ana\n\nHello Ana")


def test_a_failed_message_is_put_back_into_the_queue(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", "-f", manifest(tmp_path, WELCOME))
    beckon("subscriptions", "set", "ana", "email=subscribed")
    beckon("events", "send", "-f", events_file(tmp_path, signed_up(1)))
    failed = beckon.until(
        lambda said: bool(said.stdout), "messages", "list", "--state", "failed", "-o", "json"
    ).document
    assert "ADDRESS_MISSING" in failed["error"].upper()
    subscribe(beckon, "ana")

    answer = beckon("messages", "redrive", failed["name"], "-o", "json")

    assert answer.document == {"redriven_count": 1}
    assert arrivals(beckon, "ana")[0]["subject"] == "Welcome, there"
    again = beckon("messages", "redrive", failed["name"], code=1)
    assert "STATE_FORBIDS" in again.stderr


def test_a_webhook_is_listed_by_its_path(beckon: Beckon, tmp_path: Path) -> None:
    path = f"/hooks/{beckon.workspace}"
    text = f"""\
kind: Campaign
id: hook
state: active
trigger: {{event_type: signed_up}}
message: {{channel: webhook, template: hook}}
---
kind: Template
id: hook
webhook:
  url: ${{webhook_sink}}{path}
  body: '{{"who": {{{{ profile.id | tojson }}}}}}'
"""
    beckon("apply", "-f", manifest(tmp_path, text))
    beckon("events", "send", "-f", events_file(tmp_path, signed_up(1)))

    arrived = beckon.until(
        lambda said: bool(said.stdout), "inbox", "list", "--path", path, "-o", "json"
    ).document

    assert json.loads(arrived["body"]) == {"who": "ana"}
    counted = beckon("inbox", "list", "--path", path, "--count", "-o", "json").document
    assert counted == {"mails": 0, "webhooks": 1}


def test_an_empty_quarantine_is_empty(beckon: Beckon) -> None:
    assert beckon("quarantine", "list", "-o", "json").stdout == ""
    assert beckon("quarantine", "replay", "--all", "-o", "json").document == {"marked_count": 0}
    assert "--all" in beckon("quarantine", "replay", code=2).stderr


@pytest.mark.parametrize(
    "command",
    [
        ("campaigns", "get", "nothing"),
        ("templates", "get", "nothing"),
        ("messages", "get", "5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11"),
        ("profiles", "get", "nobody"),
        ("trace", "5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11"),
    ],
)
def test_what_is_not_there_is_said_so(beckon: Beckon, command: tuple[str, ...]) -> None:
    answer = beckon(*command, code=1)

    assert "RESOURCE_NOT_FOUND" in answer.stderr
    assert "hint" in answer.stderr


def test_a_trace_without_spans_is_said_so(beckon: Beckon) -> None:
    answer = beckon("trace", "4bf92f3577b34da6a3ce929d0e0e4736", code=1)

    assert "TRACE_NOT_FOUND" in answer.stderr


def test_a_wrong_key_is_told_apart_from_a_missing_stack(beckon: Beckon, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("wrong")

    answer = beckon("campaigns", "list", "--key-file", str(key), code=1)

    assert "CALLER_UNKNOWN" in answer.stderr
