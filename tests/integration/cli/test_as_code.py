"""Makes sure that campaigns as code are planned, applied, gone back from and explained on a real stack."""

from pathlib import Path

from tests.integration.cli.conftest import Beckon
from tests.integration.cli.test_stories import events_file, manifest

CART = """\
kind: Segment
id: loyal
filter: profile.attributes.tier == "gold"
---
kind: Campaign
id: cart
state: active
trigger:
  event_type: cart_filled
  filter: event.properties.value > 100.0
delay: 1h
message:
  channel: webhook
  template: cart
---
kind: Template
id: cart
webhook:
  url: ${webhook_sink}/cart
  body: '{}'
"""


PLACES = """\
kind: Settings
time_zone: Europe/Lisbon
holdout_percent: 5
---
kind: Region
id: porto
circle:
  center: {latitude: 41.15, longitude: -8.61}
  radius_m: 500
"""


def filled(number: int, value: float) -> dict[str, object]:
    return {
        "event_id": f"cart-{number}",
        "type": "cart_filled",
        "profile": "ana",
        "properties": {"value": value},
    }


def test_a_plan_says_what_apply_then_does_and_ends_as_scripts_need_it(
    beckon: Beckon, tmp_path: Path
) -> None:
    file = manifest(tmp_path, CART)

    before = beckon("plan", file, code=2).stdout
    beckon("apply", file)
    after = beckon("plan", file, code=0).stdout

    assert "+ Campaign cart (launched)" in before
    assert "audience: 0 people now" in before
    assert "3 to create, 0 to change" in before
    assert "0 to create, 0 to change, 0 to move, 3 as they are" in after


def test_a_plan_says_who_is_on_the_way_and_what_becomes_of_them(
    beckon: Beckon, tmp_path: Path
) -> None:
    file = manifest(tmp_path, CART)
    beckon("profiles", "set", "ana", "tier=gold")
    beckon("apply", file)
    beckon("events", "send", "-f", events_file(tmp_path, filled(1, 150.0)))
    beckon.until(
        lambda answer: answer.document["waiting_count"] == "1",
        "campaigns", "traffic", "cart", "-o", "json",
    )  # fmt: skip
    Path(file).write_text(CART.replace("delay: 1h", "delay: 2h").replace("gold", "silver"))

    plan = beckon("plan", file, "--in-flight", "finish", code=2).stdout
    beckon("apply", file, "--in-flight", "finish")

    assert "-delay: 1h" in plan
    assert "+delay: 2h" in plan
    assert "audience: 1 → 0 people (-1)" in plan
    assert "1 waiting go on by the content they entered with" in plan
    traffic = beckon("campaigns", "traffic", "cart", "-o", "json").document
    assert traffic["waiting_by_version"] == {"1": "1"}


def test_drift_is_told_and_gone_back_from(beckon: Beckon, tmp_path: Path) -> None:
    file = manifest(tmp_path, CART)
    beckon("apply", file)
    (tmp_path / "by-hand").mkdir()
    by_hand = manifest(tmp_path / "by-hand", CART.replace("delay: 1h", "delay: 5m"))
    beckon("apply", by_hand)

    plan = beckon("plan", file, code=2).stdout
    said = beckon("campaigns", "rollback", "cart", "--version", "1").stdout

    assert "changed since the file was applied: version 2 by" in plan
    assert said == "cart is version 3, as version 1 was\n"
    beckon("plan", file, code=0)
    versions = beckon("campaigns", "versions", "cart", "-o", "json").documents
    assert [one["version"] for one in versions] == ["3", "2", "1"]


def test_a_fault_of_a_plan_points_into_the_file(beckon: Beckon, tmp_path: Path) -> None:
    file = manifest(
        tmp_path, CART.replace("event.properties.value > 100.0", "event.properties.value >")
    )

    told = beckon("plan", file, code=1).stderr

    assert f"{file}:" in told
    assert "trigger.filter" in told


def test_why_somebody_got_nothing_is_told(beckon: Beckon, tmp_path: Path) -> None:
    beckon("apply", manifest(tmp_path, CART))
    beckon("events", "send", "-f", events_file(tmp_path, filled(2, 90.0)))
    explain = ("explain", "--profile", "ana", "--campaign", "cart")

    refused = beckon.until(lambda answer: "nothing began" in answer.stdout, *explain).stdout
    silent = beckon("explain", "--profile", "bo", "--campaign", "cart").stdout
    unknown = beckon("explain", "--profile", "ana", "--campaign", "gone", "-o", "json").document

    assert "ana, cart, event cart-2: nothing began: the filter did not hold" in refused
    assert "✗ filter" in refused
    assert "no cart_filled was heard of her" in silent
    assert unknown["summary"].endswith("there is no such campaign")


def test_settings_and_regions_are_files_too(beckon: Beckon, tmp_path: Path) -> None:
    file = manifest(tmp_path, PLACES)

    applied = beckon("apply", file).stdout
    again = beckon("plan", file, code=0).stdout
    Path(file).write_text(PLACES.replace("holdout_percent: 5\n", ""))
    plan = beckon("plan", file, code=2).stdout

    assert "created   Region porto" in applied
    assert "Settings (time_zone, holdout_percent)" in applied
    assert "2 as they are" in again
    assert "-holdout_percent: 5" in plan
