"""Makes sure that people can be known, united, parted, grouped, written out and forgotten by command."""

import csv
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from pyarrow import parquet

from tests.integration.cli.conftest import Answer, Beckon

EXAMPLES = Path(__file__).parents[3] / "examples"


def did(folder: Path, *events: tuple[str, str, str], **properties: Any) -> str:
    """Return a file of events: id, type and whose."""
    file = folder / "events.jsonl"
    lines = [
        {"event_id": event, "type": type_, "profile": profile, "properties": properties}
        for event, type_, profile in events
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def column(answer: Answer, name: str) -> Sequence[Any]:
    return [document[name] for document in answer.documents]


def ids(answer: Answer, field: str = "name") -> list[str]:
    """Return the ids at the ends of names."""
    return [str(one).rpartition("/")[2] for one in column(answer, field)]


def observed(beckon: Beckon, profile: str, count: int) -> None:
    """Wait until a profile has so many events."""
    beckon.until(
        lambda said: len(said.documents) == count, "profiles", "events", profile, "-o", "json"
    )


def active(beckon: Beckon, kind: str, id_: str) -> dict[str, Any]:
    """Wait until a segment or trait is complete."""
    return beckon.until(
        lambda said: said.document["state"] == "STATE_ACTIVE", kind, "get", id_, "-o", "json"
    ).document


def test_people_are_listed_by_what_is_known_of_them(beckon: Beckon) -> None:
    for profile, tier in (("ana", "gold"), ("ben", "silver"), ("cleo", "gold")):
        beckon("profiles", "set", profile, f"tier={tier}")

    gold = ("profiles", "list", "--filter", 'profile.attributes.tier == "gold"', "-o", "json")

    assert ids(beckon(*gold)) == ["ana", "cleo"]
    assert ids(beckon(*gold, "--order-by", "create_time desc")) == ["cleo", "ana"]
    assert ids(beckon(*gold, "--limit", "1")) == ["ana"]
    wrong = beckon("profiles", "list", "--filter", "profile.attributes. == 1", code=1)
    assert "EXPRESSION_INVALID" in wrong.stderr


def test_events_before_the_break_of_a_broken_zip_are_in(beckon: Beckon, tmp_path: Path) -> None:
    events = Path(did(tmp_path, ("e-1", "page_viewed", "ana")))
    broken = tmp_path / "events.jsonl.gz"
    broken.write_bytes(gzip.compress(events.read_bytes())[:-8])

    answer = beckon("events", "send", "-f", str(broken), code=1)

    assert "events.jsonl.gz cannot be read beyond line 1" in answer.stderr
    observed(beckon, "ana", 1)


def test_two_ids_are_one_person_until_that_is_taken_back(beckon: Beckon, tmp_path: Path) -> None:
    beckon("profiles", "set", "ana", "first_name=Ana")
    events = did(tmp_path, ("e-1", "page_viewed", "web-1"), ("e-2", "order_placed", "ana"))
    beckon("events", "send", "-f", events)
    observed(beckon, "web-1", 1)
    observed(beckon, "ana", 1)

    merge = beckon("profiles", "merge", "web-1", "ana", "--reason", "one person", "-o", "json")
    again = beckon("profiles", "merge", "web-1", "ana", "-o", "json")

    assert again.document["name"] == merge.document["name"]
    united = beckon("profiles", "get", "web-1", "-o", "json").document
    assert united["name"].endswith("/ana")
    assert sorted(united["member_ids"]) == ["ana", "web-1"]
    assert {"page_viewed", "order_placed"} <= set(united["counters"])
    assert "ids        ana, web-1" in beckon("profiles", "get", "ana").stdout
    explained = beckon("profiles", "explain", "ana").stdout
    assert "recorded under each id" in explained
    assert "first_name" in explained
    assert "one person" in explained

    beckon("profiles", "unmerge", merge.document["name"])

    parted = beckon("profiles", "get", "web-1", "-o", "json").document
    assert "page_viewed" in parted["counters"]
    assert "order_placed" not in parted["counters"]
    [listed] = beckon("profiles", "merges", "ana", "-o", "json").documents
    assert (listed["state"], listed["reason"]) == ("STATE_UNDONE", "one person")


def test_logging_in_makes_the_visitor_the_customer(beckon: Beckon, tmp_path: Path) -> None:
    beckon("events", "send", "-f", did(tmp_path, ("e-1", "page_viewed", "web-1")))
    observed(beckon, "web-1", 1)

    login = did(tmp_path, ("e-2", "identify", "ana"), anonymous_id="web-1")
    beckon("events", "send", "-f", login)

    beckon.until(
        lambda said: said.document["name"].endswith("/ana"),
        *("profiles", "get", "web-1", "-o", "json"),
    )
    [merge] = beckon("profiles", "merges", "ana", "-o", "json").documents
    assert merge["origin"] == "ORIGIN_IDENTIFY"


def test_the_client_that_sends_an_attribute_first_and_an_event_after_works(beckon: Beckon) -> None:
    page = (EXAMPLES.parent / "docs" / "integrating.md").read_text()
    script = page.split("```python\n")[2].partition("```")[0]
    stack = beckon("status", "-o", "json").document
    addresses = {one["name"]: one["address"] for one in stack["services"]}
    arguments = [addresses["profile"], addresses["ingest"], stack["key_file"]]

    said = run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )

    assert said.stdout == "1 accepted\n"
    main = Beckon(beckon.folder, "main")
    main.until(lambda one: "plan_upgraded" in one.stdout, "profiles", "events", "ana", "-o", "json")
    assert main("quarantine", "list", "-o", "json").stdout == ""


def test_a_device_belongs_to_who_registered_it_last(beckon: Beckon, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t-0123456789\n")
    how = ("--platform", "fcm", "--token", f"@{token}", "--app", "com.example.shop", "-o", "json")

    first = beckon("devices", "register", "ana", *how).document
    beckon("devices", "register", "ben", *how)

    assert first["state"] == "STATE_ACTIVE"
    assert "t-0123456789" not in json.dumps(first)
    [hers] = beckon("devices", "list", "ben", "-o", "json").documents
    assert hers["state"] == "STATE_ACTIVE"
    reach = {
        one["channel"]: one
        for one in beckon("profiles", "get", "ben", "-o", "json").document["reach"]
    }
    assert reach["CHANNEL_PUSH"]["reachable"]
    released = beckon("devices", "release", "ben", hers["name"], "-o", "json").document
    assert released["state"] == "STATE_RELEASED"
    assert "released" in beckon("devices", "transfers", "ben").stdout
    wrong = beckon("devices", "register", "ana", "--platform", "pager", "--token", "x", code=2)
    assert "fcm, apns, web_push" in wrong.stderr


def test_who_follows_whom_is_written_streamed_and_removed(beckon: Beckon) -> None:
    for follower in ("ben", "cleo", "dan"):
        beckon("profiles", "set", follower, f"tier={'gold' if follower == 'cleo' else 'none'}")
        beckon("relations", "put", follower, "follows", "ana", "close:=true")
    beckon("relations", "put", "ana", "follows", "ben")
    beckon("relations", "put", "dan", "blocks", "ana")
    followers = ("relations", "related", "ana", "follows", "--incoming", "-o", "json")

    assert ids(beckon(*followers), "profile") == ["ben", "cleo"]
    assert ids(beckon(*followers, "--include-blocked"), "profile") == ["ben", "cleo", "dan"]
    assert ids(beckon(*followers, "--mutual"), "profile") == ["ben"]
    gold = 'profile.attributes.tier == "gold"'
    assert ids(beckon(*followers, "--filter", gold), "profile") == ["cleo"]
    assert len(beckon(*followers, "--limit", "1").documents) == 1
    listed = beckon("relations", "list", "ana", "--incoming", "--kind", "follows", "-o", "json")
    assert ids(listed, "from") == ["ben", "cleo", "dan"]
    assert "it is gone" in beckon("relations", "delete", "ben", "follows", "ana").stdout
    assert "there was none" in beckon("relations", "delete", "ben", "follows", "ana").stdout
    assert "FIELD_INVALID" in beckon("relations", "put", "ana", "follows", "ana", code=1).stderr


def test_an_attribute_has_one_type(beckon: Beckon) -> None:
    beckon("attributes", "create", "trial_end", "--type", "timestamp")
    beckon("profiles", "set", "ana", "trial_end=2026-12-24T09:00:00Z", "visits:=3")

    types = {
        one["name"].rpartition("/")[2]: one["type"]
        for one in beckon("attributes", "list", "-o", "json").documents
    }

    assert types == {"trial_end": "TYPE_TIMESTAMP", "visits": "TYPE_NUMBER"}
    conflict = beckon("profiles", "set", "ana", "visits=three", code=1)
    assert "ATTRIBUTE_TYPE_CONFLICT" in conflict.stderr


def test_a_trait_counts_from_the_history_and_on(beckon: Beckon, tmp_path: Path) -> None:
    beckon(
        "events", "send", "-f", did(tmp_path, ("e-1", "message", "ana"), ("e-2", "message", "ana"))
    )
    observed(beckon, "ana", 2)

    beckon(
        "traits", "create", "messages_this_month", "-e", "message", "--per", "month", "--backfill"
    )
    active(beckon, "traits", "messages_this_month")
    beckon("events", "send", "-f", did(tmp_path, ("e-3", "message", "ana")))

    beckon.until(
        lambda said: said.document.get("traits") == {"messages_this_month": 3},
        *("profiles", "get", "ana", "-o", "json"),
    )
    assert "the person's month" in beckon("traits", "list").stdout
    assert "calendar: month" in beckon("traits", "get", "messages_this_month").stdout
    beckon("traits", "delete", "messages_this_month")
    assert beckon("traits", "list", "-o", "json").stdout == ""


def test_a_segment_is_counted_built_and_explained(beckon: Beckon) -> None:
    for profile, tier in (("ana", "gold"), ("ben", "silver")):
        beckon("profiles", "set", profile, f"tier={tier}")
    filter_ = 'profile.attributes.tier == "gold" && profile.attributes.country == "PT"'
    either = filter_.replace("&&", "||")

    assert beckon("segments", "count", either).stdout == "1 of 2 profiles (50.0%)\n"
    beckon("segments", "create", "loyal", either, "--description", "Gold")
    assert active(beckon, "segments", "loyal")["description"] == "Gold"

    assert ids(beckon("segments", "members", "loyal", "-o", "json"), "profile") == ["ana"]
    why = beckon("segments", "explain", "loyal", "ana").stdout
    assert why.startswith("ana is in loyal since")
    assert '✓ profile.attributes.tier == "gold"' in why
    assert '? profile.attributes.country == "PT"' in why
    beckon("profiles", "set", "ben", "country=PT")
    beckon.until(
        lambda said: len(said.documents) == 2, "segments", "members", "loyal", "-o", "json"
    )
    beckon("segments", "update", "loyal", "--filter", filter_)
    beckon.until(lambda said: said.stdout == "", "segments", "members", "loyal", "-o", "json")
    assert "EXPRESSION_INVALID" in beckon("segments", "count", "profile.", code=1).stderr
    beckon("segments", "delete", "loyal")
    assert beckon("segments", "list", "-o", "json").stdout == ""


def test_the_example_definitions_apply_and_twice_is_as_once(beckon: Beckon, tmp_path: Path) -> None:
    folder = str(EXAMPLES / "profiles")

    dry = beckon("apply", "-f", folder, "--dry-run", "-o", "json")
    first = beckon("apply", "-f", folder, "-o", "json")
    second = beckon("apply", "-f", folder, "-o", "json")

    assert set(column(dry, "action")) == set(column(first, "action")) == {"created"}
    assert column(first, "kind")[-2:] == ["Campaign", "Campaign"]
    assert set(column(second, "action")) == {"unchanged"}
    printed = [
        beckon(*one).stdout
        for one in (("traits", "get", "messages_this_month"), ("segments", "get", "silent"))
    ]
    file = tmp_path / "printed.yaml"
    file.write_text("\n---\n".join(printed))
    assert column(beckon("apply", "-f", str(file), "-o", "json"), "action") == ["unchanged"] * 2


def test_what_a_definition_gets_wrong_is_told_by_line_with_nothing_written(
    beckon: Beckon, tmp_path: Path
) -> None:
    file = tmp_path / "people.yaml"
    file.write_text(
        "kind: Segment\nid: a\nfilter: profile.attributes.tier = 3\n---\n"
        "kind: Trait\nid: b\nevent_type: x\naggregate: count\nfilter: event.\n"
    )

    answer = beckon("apply", "-f", str(file), "-o", "json", code=1)

    places = [one["where"] for one in json.loads(answer.stderr)["error"]["details"]]
    assert [place.removeprefix(f"{file}:").partition(":")[0] for place in places] == ["3", "9"]
    assert beckon("traits", "list", "-o", "json").stdout == ""


def test_a_trait_does_not_change(beckon: Beckon, tmp_path: Path) -> None:
    file = tmp_path / "trait.yaml"
    file.write_text("kind: Trait\nid: b\nevent_type: x\naggregate: count\n")
    beckon("apply", "-f", str(file))
    file.write_text("kind: Trait\nid: b\nevent_type: y\naggregate: count\n")

    answer = beckon("apply", "-f", str(file), code=1)

    assert "a trait does not change" in answer.stderr


def test_everything_of_a_person_is_written_out(beckon: Beckon, tmp_path: Path) -> None:
    beckon("profiles", "set", "ana", "--email", "ana@example.com", "first_name=Ana")
    beckon("subscriptions", "set", "ana", "email=subscribed")
    beckon("relations", "put", "ana", "follows", "ben")
    beckon("devices", "register", "ana", "--platform", "apns", "--token", "00ff")
    beckon("events", "send", "-f", did(tmp_path, ("e-1", "page_viewed", "web-1")))
    observed(beckon, "web-1", 1)
    beckon("profiles", "merge", "web-1", "ana")
    file = tmp_path / "ana.jsonl"

    answer = beckon("profiles", "export", "web-1", "--to", str(file))

    items = [json.loads(line) for line in file.read_text().splitlines()]
    kinds = [kind for item in items for kind in item]
    assert kinds[0] == "profile"
    assert {"profile", "device", "relation", "event", "subscription"} <= set(kinds)
    assert answer.stdout == f"{len(items)} items in {file}\n"
    assert "00ff" not in file.read_text()


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_segment_is_written_out(beckon: Beckon, tmp_path: Path, suffix: str) -> None:
    for number in range(5):
        beckon("profiles", "set", f"p-{number}", f"visits:={number}", "tags:=[1,2]")
    beckon("segments", "create", "some", "profile.attributes.visits >= 2.0")
    active(beckon, "segments", "some")
    file = tmp_path / f"some.{suffix}"

    answer = beckon("profiles", "export", "--segment", "some", "--to", str(file))

    assert answer.stdout == f"3 profiles in {file}\n"
    match suffix:
        case "jsonl":
            found = [json.loads(line)["attributes"]["visits"] for line in file.open()]
        case "csv":
            found = [float(row["attributes.visits"]) for row in csv.DictReader(file.open())]
        case _:
            found = parquet.read_table(file).column("attributes.visits").to_pylist()
    assert found == [2, 3, 4]


def test_who_is_erased_is_gone_with_a_receipt(beckon: Beckon, tmp_path: Path) -> None:
    beckon("profiles", "set", "ana", "first_name=Ana")
    beckon("subscriptions", "set", "ana", "email=subscribed")
    beckon("events", "send", "-f", did(tmp_path, ("e-1", "page_viewed", "ana")))
    observed(beckon, "ana", 1)

    dry = beckon("profiles", "erase", "ana", "--dry-run", "-o", "json").document
    assert dry["removals"][0]["service"] == "profile"
    assert "--yes" in beckon("profiles", "erase", "ana", code=2).stderr
    beckon("profiles", "get", "ana")
    receipt = beckon(
        "profiles", "erase", "ana", "--yes", "--wait", "--reason", "asked", "-o", "json"
    )

    assert receipt.document["state"] == "STATE_COMPLETE"
    removed = {one["service"]: one["counts"] for one in receipt.document["removals"]}
    assert set(removed) == {"profile", "trigger", "throttle", "delivery"}
    assert "RESOURCE_NOT_FOUND" in beckon("profiles", "get", "ana", code=1).stderr
    assert "PERSON_ERASED" in beckon("profiles", "set", "ana", "first_name=Ana", code=1).stderr
    again = beckon("profiles", "erase", "ana", "--yes", "-o", "json").document
    assert again["name"] == receipt.document["name"]
    shown = beckon("profiles", "erasures", "get", again["name"]).stdout
    assert "state          complete" in shown
    assert "asked" in beckon("profiles", "erasures", "list").stdout
