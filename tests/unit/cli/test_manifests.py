"""Makes sure that a manifest becomes the message it says, and that every fault has its very place."""

from pathlib import Path
from textwrap import dedent

import pytest
from beckon.delivery.v1.template_service_pb2 import Template
from beckon.profile.v1.segment_service_pb2 import Segment
from beckon.profile.v1.trait_service_pb2 import Trait
from beckon.throttle.v1.frequency_cap_service_pb2 import FrequencyCap
from beckon.trigger.v1.campaign_service_pb2 import Campaign, RegionCrossing
from beckon.type.v1.channel_pb2 import CHANNEL_EMAIL
from google.protobuf.json_format import MessageToDict
from google.type.dayofweek_pb2 import FRIDAY, MONDAY

from cli.manifests.apply import in_order, located, move_of
from cli.manifests.decode import Document, decode_files
from cli.manifests.differ import changed_paths, top_level
from cli.manifests.places import Faults
from cli.manifests.read import find_files
from cli.manifests.write import to_yaml
from cli.problems import Problem, Refusal
from mesh.errors import FieldViolation

EXAMPLES = Path(__file__).parents[3] / "examples"

DAY = FrequencyCap.CALENDAR_WINDOW_DAY

CAMPAIGN = """\
kind: Campaign
id: abandoned-cart
state: active
trigger:
  event_type: item_added_to_cart
  filter: |
    event.properties.value > 100.0 &&
      event.properties.country == "PT"
delay: 1h30m
exceptions:
  - event_type: order_placed
start_time: 2026-12-01T09:00:00+01:00
reentry_interval: 0s
message:
  channel: email
  template: cart
"""


def decode(
    folder: Path, text: str, variables: dict[str, str] | None = None
) -> tuple[list[Document], list[str]]:
    """Return the documents of a file, and its faults as `line:column: text`."""
    file = folder / "manifest.yaml"
    file.write_text(dedent(text))
    faults = Faults()
    documents = decode_files([file], workspace="main", variables=variables or {}, faults=faults)
    found = sorted(faults.found, key=lambda fault: fault.place)
    return documents, [f"{one.place.line}:{one.place.column}: {one.text}" for one in found]


def test_a_campaign_is_read(tmp_path: Path) -> None:
    [document], faults = decode(tmp_path, CAMPAIGN)

    assert faults == []
    assert document.state == "active"
    campaign = document.message
    assert isinstance(campaign, Campaign)
    assert campaign.name == "workspaces/main/campaigns/abandoned-cart"
    assert campaign.delay.seconds == 5400
    assert campaign.start_time.ToJsonString() == "2026-12-01T08:00:00Z"
    assert campaign.HasField("reentry_interval")
    assert campaign.message.channel == CHANNEL_EMAIL
    assert campaign.message.template == "workspaces/main/templates/cart"


def test_every_example_is_well() -> None:
    faults = Faults()

    documents = decode_files(find_files([EXAMPLES]), workspace="main", variables={}, faults=faults)

    assert faults.found == []
    assert len({(one.kind.name, one.id) for one in documents}) == len(documents) > 0


def test_what_is_written_is_read_back_alike(tmp_path: Path) -> None:
    faults = Faults()
    for document in decode_files(
        find_files([EXAMPLES]), workspace="main", variables={}, faults=faults
    ):
        text = to_yaml(document.kind, document.message)

        [again], problems = decode(tmp_path, text)

        assert problems == []
        assert changed_paths(document.message, again.message) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: Campaign\nid: a\ntriger: {}\n", "3:1: triger: no such field (did you mean `trigger`?)"),
        ("kind: Campain\n", "1:7: kind: 'Campain' is none (did you mean `Campaign`?)"),
        ("id: a\n", "1:1: `kind` is missing"),
        ("name: A story\nsteps: []\n", "1:1: a scenario, for `beckon test`; keep it in another folder"),
        ("kind: FrequencyCap\nlimit: 1\ncalendar: day\n", "1:1: `id` is missing"),
        ("kind: Campaign\nid: A_b\n", "2:5: id: 'A_b' must be kebab-case"),
        ("kind: Campaign\nid: a\nstate: on\n", "3:8: state: expected text; YAML reads on as true or false: put it in quotes"),
        ("kind: Campaign\nid: a\nstate: running\n", "3:8: state: 'running' is none; expected active, paused, draft, archived"),
        ("kind: Campaign\nid: a\ndelay: 30\n", "3:8: delay: '30' is no duration; expected a duration such as 30m"),
        ("kind: Campaign\nid: a\ndelay: [30m]\n", "3:8: delay: '' is no duration"),
        ("kind: Campaign\nid: a\nstart_time: 2026-12-01\n", "3:13: start_time: '2026-12-01' has no zone"),
        ("kind: Campaign\nid: a\nname: x\n", "3:1: name: is set by Beckon, not by a file; `id` names it"),
        ("kind: Campaign\nid: a\nversion: 3\n", "3:1: version: is set by Beckon, not by a file"),
        ("kind: Campaign\nid: a\nid: b\n", "3:1: id: is there twice"),
        ("kind: Campaign\nid: a\nexceptions: order_placed\n", "3:13: exceptions: expected a list"),
        ("kind: Campaign\nid: a\ntrigger: order_placed\n", "3:10: trigger: expected fields (event_type, attribute, "),
        ("kind: Campaign\nid: a\ntrigger:\n  filter: 'true'\n", "4:3: trigger: one of event_type, attribute, segment, "),
        ("kind: Campaign\nid: a\ncritical: maybe\n", "3:11: critical: expected true or false, this is 'maybe'"),
        ("kind: Campaign\nid: a\nmessage: {channel: emial, template: t}\n", "3:20: message.channel: 'emial' is none (did you mean `email`?); expected email, webhook"),
        ("kind: Campaign\nid: a\ndisplay_name: 7\n", "3:15: display_name: expected text; YAML reads 7 as a number: put it in quotes"),
        ("kind: Campaign\nid: a\ndisplay_name:\n", "3:14: display_name: is empty; leave the line out"),
        ("kind: Campaign\nid: a\ntrigger: {request: {}, event_type: x}\n", "3:24: trigger.event_type: either this or request, not both"),
        ("kind: Campaign\nid: a\ntrigger: {request: now}\n", "3:20: trigger.request: expected `{}`, as it has no fields, this is 'now'"),
        ("kind: Campaign\nid: a\ntrigger: {milestone: {trait: t, value: many}}\n", "3:40: trigger.milestone.value: expected a number, this is 'many'"),
        ("kind: Campaign\nid: a\nwait: {local_time: 10:00}\n", "3:20: wait.local_time: expected text; YAML reads 10:00 as a number: put it in quotes"),
        ("kind: Campaign\nid: a\nwait: {local_time: '9:00', weekdays: [monday, tusday]}\n", "3:47: wait.weekdays[1]: 'tusday' is none (did you mean `tuesday`?)"),
        ("kind: Campaign\nid: a\nwait: {weekdays: monday}\n", "3:18: wait.weekdays: expected a list"),
        ("kind: Campaign\nid: a\ndelay: -3d\n", "3:8: delay: '-3d' is no duration; expected a duration such as 30m, 2h, 14d"),
        ("kind: Campaign\nid: a\ntrigger: {date: {attribute: trial_end, offset: 3}}\n", "3:48: trigger.date.offset: '3' is no duration; expected a duration such as 30m, 2h, -3d"),
        ("kind: Campaign\nid: a\ntrigger: {date: {attribute: trial_end, offset: -500d}}\nmessage: {channel: email, template: t}\n", "3:48: trigger.date.offset: must be greater than or equal to -34560000s"),
        ("kind: Campaign\nid: a\ndigest: {key_property: photo}\n", "3:9: digest: one of fixed, sliding, calendar is missing"),
        ("kind: Campaign\nid: a\nvariants: [{id: b, weight: 1.5}]\n", "3:28: variants[0].weight: expected a whole number, this is '1.5'"),
        ("kind: FrequencyCap\nid: a\nlimit: two\ncalendar: day\n", "3:8: limit: expected a whole number, this is 'two'"),
        ("kind: FrequencyCap\nid: a\nlimit: 0\ncalendar: day\n", "3:8: limit: must be greater than or equal to 1"),
        ("kind: FrequencyCap\nid: a\nlimit: 1\ncalendar: day\nrolling: 1h\n", "5:1: rolling: either this or calendar, not both"),
        ("kind: FrequencyCap\nid: a\nlimit: 1\ncalendar: day\nstate: active\n", "5:8: state: a FrequencyCap has none"),
        ("kind: Template\nid: a\nwebhook: {url: 'http://x', body: {file: gone.txt}}\n", "3:41: cannot read"),
        ("kind: Template\nid: a\nwebhook: {url: '${nowhere}', body: x}\n", "3:16: ${nowhere} has no value; give it with --set nowhere=…"),
        ("kind: Template\nid: a\ndefaults: [x]\nwebhook: {url: 'http://x', body: x}\n", "3:11: defaults: expected `key: value` lines"),
        ("kind: Trait\nid: a-b\n", "2:5: id: 'a-b' must be snake_case of at most 63 characters, as messages_this_month"),
        ("kind: Trait\nid: a\nevent_type: x\naggregate: count\ncalendar: month\nrolling: 30d\n", "6:1: rolling: either this or calendar, not both"),
        ("kind: Trait\nid: a\nevent_type: x\naggregate: average\n", "4:12: aggregate: 'average' is none; expected count, sum"),
        ("kind: Segment\nid: a_b\nfilter: 'true'\n", "2:5: id: 'a_b' must be kebab-case"),
        ("kind: Segment\nid: a\nmember_count: 3\n", "3:1: member_count: is set by Beckon, not by a file"),
        ("kind: Campaign\n  id: a\n", "2:5: not YAML: mapping values are not allowed here"),
        ("- a\n", "1:1: expected fields, such as `kind: Campaign`"),
        ("kind: Campaign\nid: \x01\n", "1:1: not YAML"),
    ],
)  # fmt: skip
def test_a_fault_has_its_place_and_says_what_would_be_right(
    tmp_path: Path, text: str, expected: str
) -> None:
    _, faults = decode(tmp_path, text)

    assert any(fault.startswith(expected) for fault in faults), faults


def test_every_way_to_begin_and_wait_is_read(tmp_path: Path) -> None:
    [document], faults = decode(
        tmp_path,
        """\
        kind: Campaign
        id: sale
        trigger:
          region:
            regions: [porto, workspaces/main/regions/lisbon]
            kind: dwell
            duration: 10m
        recipient:
          team: {profiles: [ana, bo]}
        wait: {offset: -3d, local_time: '09:00', weekdays: [monday, friday]}
        variants:
          - {id: gold, filter: "true", message: {channel: email, template: gold}}
        digest: {calendar: {local_time: "09:00"}, message: {channel: email, template: weekly}}
        message: {channel: email, template: sale}
        """,
    )

    assert faults == []
    campaign = document.message
    assert isinstance(campaign, Campaign)
    assert list(campaign.trigger.region.regions) == [
        "workspaces/main/regions/porto",
        "workspaces/main/regions/lisbon",
    ]
    assert campaign.trigger.region.kind == RegionCrossing.KIND_DWELL
    assert list(campaign.recipient.team.profiles) == [
        "workspaces/main/profiles/ana",
        "workspaces/main/profiles/bo",
    ]
    assert campaign.wait.offset.seconds == -3 * 86400
    assert list(campaign.wait.weekdays) == [MONDAY, FRIDAY]
    assert campaign.variants[0].message.template == "workspaces/main/templates/gold"
    assert campaign.digest.message.template == "workspaces/main/templates/weekly"


@pytest.mark.parametrize(
    ("written", "value"),
    [("gold", "gold"), ("7", 7.0), ("1.5", 1.5), ("true", True), ("null", None), ("[a, 1]", ["a", 1.0])],
)  # fmt: skip
def test_a_value_is_what_yaml_says_it_is(tmp_path: Path, written: str, value: object) -> None:
    text = CAMPAIGN.replace(
        "event_type: item_added_to_cart", f"attribute: {{attribute: tier, to: {written}}}"
    )

    [document], faults = decode(tmp_path, text)

    assert faults == []
    assert isinstance(document.message, Campaign)
    assert MessageToDict(document.message.trigger.attribute.to) == value


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    _, faults = decode(tmp_path, "kind: Campaign\nid: A\ndelay: 3\nfoo: 1\n---\nkind: X\n")

    assert [fault.split(":")[0] for fault in faults] == ["1", "1", "2", "3", "4", "6"]


def test_a_rule_of_the_schema_is_told_in_words(tmp_path: Path) -> None:
    text = CAMPAIGN.replace("item_added_to_cart", "Item Added")

    _, faults = decode(tmp_path, text)

    assert faults == [
        "5:15: trigger.event_type: must be snake_case of at most 63 characters, as order_placed"
    ]


def test_two_documents_of_one_name_are_a_fault(tmp_path: Path) -> None:
    cap = "kind: FrequencyCap\nid: daily\nlimit: 1\ncalendar: day\n"

    _, faults = decode(tmp_path, f"{cap}---\n{cap}")

    assert faults[0].startswith("6:1: FrequencyCap daily is also at ")


def test_long_texts_may_live_in_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("Hello {{ profile.id }}\n")

    [document], faults = decode(
        tmp_path, "kind: Template\nid: a\nemail:\n  subject: Hi\n  text: {file: hello.txt}\n"
    )

    assert faults == []
    assert isinstance(document.message, Template)
    assert document.message.email.text == "Hello {{ profile.id }}\n"
    assert document.place_of("template.email.text").file == tmp_path / "hello.txt"


def test_variables_are_filled_in_and_templates_left_alone(tmp_path: Path) -> None:
    text = """\
        kind: Template
        id: a
        webhook:
          url: ${sink:-http://localhost}/x
          body: '{"a": "${{ event.id }}", "b": "${other:-b}"}'
        """

    [document], _ = decode(tmp_path, text, {"other": "c"})

    assert isinstance(document.message, Template)
    assert document.message.webhook.url == "http://localhost/x"
    assert document.message.webhook.body == '{"a": "${{ event.id }}", "b": "c"}'


def test_defaults_keep_their_types(tmp_path: Path) -> None:
    text = """\
        kind: Template
        id: a
        email: {subject: x, text: x}
        defaults:
          event.properties.count: 3
          event.properties.known: false
          event.properties.names: [a, null]
        """

    [document], faults = decode(tmp_path, text)

    assert faults == []
    assert isinstance(document.message, Template)
    defaults = document.message.defaults
    assert defaults["event.properties.count"].number_value == 3
    assert defaults["event.properties.known"].WhichOneof("kind") == "bool_value"
    assert [
        one.WhichOneof("kind") for one in defaults["event.properties.names"].list_value.values
    ] == [
        "string_value",
        "null_value",
    ]


@pytest.mark.parametrize(
    ("violation", "metadata", "expected"),
    [
        (FieldViolation("campaign.exceptions[0].event_type", "bad"), {}, "11:17"),
        (FieldViolation("campaign.recipient", "bad"), {}, "1:1"),
        (FieldViolation("campaign.trigger.event_type", "bad"), {}, "5:15"),
        (FieldViolation("campaign.trigger.filter", "bad"), {"line": "2", "column": "9"}, "8:13"),
        (FieldViolation("campaign.trigger.filter", "line 2: bad"), {}, "8:5"),
    ],
)
def test_a_services_violation_has_its_place_in_the_file(
    tmp_path: Path, violation: FieldViolation, metadata: dict[str, str], expected: str
) -> None:
    [document], _ = decode(tmp_path, CAMPAIGN)
    refusal = Refusal(
        code="INVALID_ARGUMENT",
        reason="X",
        message="no",
        metadata=metadata,
        violations=[violation],
    )

    [(place, _)] = located(document, refusal)

    assert f"{place.line}:{place.column}" == expected


def test_an_expression_without_a_field_is_found_by_its_text(tmp_path: Path) -> None:
    [document], _ = decode(tmp_path, CAMPAIGN)
    refusal = Refusal(
        code="INVALID_ARGUMENT",
        reason="EXPRESSION_INVALID",
        message="no such thing",
        metadata={"expression": "event.properties.value > 1", "line": "1", "column": "7"},
    )

    [(place, text)] = located(document, refusal)

    assert (place.line, place.column) == (7, 11)
    assert text == "trigger.filter: no such thing"


def test_a_trait_and_a_segment_are_read(tmp_path: Path) -> None:
    text = """\
        kind: Segment
        id: busy
        filter: profile.traits.spent_30d > 100.0
        ---
        kind: Trait
        id: spent_30d
        event_type: order_placed
        aggregate: sum
        property: value
        rolling: 30d
        """

    documents, faults = decode(tmp_path, text)

    assert faults == []
    trait, segment = (document.message for document in in_order(documents))
    assert isinstance(trait, Trait)
    assert isinstance(segment, Segment)
    assert trait.name == "workspaces/main/traits/spent_30d"
    assert (trait.aggregate, trait.rolling.seconds) == (Trait.AGGREGATE_SUM, 30 * 86400)
    assert segment.filter == "profile.traits.spent_30d > 100.0"


def test_differences_are_named_as_deep_as_can_be(tmp_path: Path) -> None:
    [before], _ = decode(tmp_path, CAMPAIGN)
    [after], _ = decode(
        tmp_path,
        CAMPAIGN.replace("100.0", "50.0")
        .replace("1h30m", "2h")
        .replace("reentry_interval: 0s\n", ""),
    )

    paths = changed_paths(before.message, after.message)

    assert paths == ["trigger.filter", "delay", "reentry_interval"]
    assert top_level(paths) == ["trigger", "delay", "reentry_interval"]


def test_what_a_service_fills_in_is_no_difference() -> None:
    stored = FrequencyCap(limit=1, calendar=DAY, on_breach=FrequencyCap.ON_BREACH_SUPPRESS)

    assert changed_paths(stored, FrequencyCap(limit=1, calendar=DAY)) == []


@pytest.mark.parametrize(
    ("wanted", "state", "move"),
    [
        ("active", "draft", "launched"),
        ("active", "paused", "launched"),
        ("active", "active", ""),
        ("paused", "active", "paused"),
        ("paused", "draft", ""),
        ("draft", "active", ""),
        ("archived", "active", "archived"),
        ("", "active", ""),
    ],
)
def test_a_campaign_is_moved_to_the_state_its_file_wants(
    tmp_path: Path, wanted: str, state: str, move: str
) -> None:
    [document], _ = decode(tmp_path, CAMPAIGN)
    document.state = wanted

    assert move_of(document, state, known=True) == move


def test_a_folder_without_manifests_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="holds no"):
        find_files([tmp_path])


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"kind: \xff\n")
    faults = Faults()

    decode_files([file], workspace="main", variables={}, faults=faults)

    assert "is not UTF-8" in faults.found[0].text
