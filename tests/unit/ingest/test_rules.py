"""Makes sure that the door refuses what the schema forbids, and nothing else."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime

import protovalidate
import pytest
from beckon.ingest.v1.event_pb2 import Event
from beckon.ingest.v1.ingest_service_pb2 import IngestEventsRequest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest import convert
from services.ingest.model import Admission, Fault
from services.ingest.rules import EARLIEST_SECONDS, RESERVED_TYPES, admit, check

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PARENT = "workspaces/acme"


def an_event(**changes: object) -> Event:
    values: dict[str, object] = {
        "event_id": "e1",
        "type": "order_placed",
        "profile": f"{PARENT}/profiles/ana",
        "properties_json": b'{"value": 12.5}',
        **changes,
    }
    return Event(**values)  # type: ignore[arg-type]


def faults_of(*events: Event) -> dict[int, list[str]]:
    found = check(convert.columns(list(events)), parent=PARENT, now=NOW)
    return {
        index: [violation.rule for violation in violations] for index, violations in found.items()
    }


def fingerprints(events: Sequence[Event]) -> list[bytes]:
    request = IngestEventsRequest(parent=PARENT, events=events)
    columns = convert.columns(request.events)
    return list(convert.fingerprints(columns, convert.raw_events(request)))


def admitted(events: Sequence[Event], known: Sequence[bytes | None]) -> Admission:
    columns = convert.columns(events)
    return admit(
        columns,
        parent=PARENT,
        now=NOW,
        fingerprints=fingerprints(events),
        known=known,
    )


# Near misses of every bound; plain text would almost never come close to one.
near_ids = st.one_of(
    st.text("aZ9._~@+:=-", max_size=3),
    st.sampled_from(["", "a/b", "a b", "a\0", "ä", "a\n", "x" * 128, "x" * 129]),
    st.text(max_size=5),
)
near_types = st.one_of(
    st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True),
    st.sampled_from(["", "A", "1a", "a-b", "a\n", "a" * 63, "a" * 64]),
)


@given(event_id=near_ids, kind=near_types, profile=near_ids)
@example(event_id="e\n", kind="order_placed", profile="ana")
def test_the_door_and_the_annotations_agree(event_id: str, kind: str, profile: str) -> None:
    event = an_event(event_id=event_id, type=kind, profile=f"{PARENT}/profiles/{profile}")

    try:
        protovalidate.validate(event)
        annotated = True
    except protovalidate.ValidationError:
        annotated = False

    assert (faults_of(event) == {}) == annotated


@pytest.mark.parametrize(
    ("properties", "rule"),
    [
        (b"[1]", "bytes.json"),
        (b'"a"', "bytes.json"),
        (b"{", "bytes.json"),
        (b'{"a":1} {"b":2}', "bytes.json"),
        (b'{"a":nope}', "bytes.json"),
        (b'{"a":1e999999}', "bytes.json"),
        (b'{"a":"\\ud800"}', "bytes.json"),
        (b'{"a":1e-16000}', "bytes.number"),
        (b'{"a":[{"b":0.1E-401}]}', "bytes.number"),
        (b'{"a":"\xff"}', "bytes.utf8"),
        (b'{"a":"\\u0000"}', "bytes.nul"),
        (b'{"a":{"\\u0000":1}}', "bytes.nul"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "bytes.depth"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "bytes.depth"),
        (b'{"a":"' + b"x" * 32_768 + b'"}', "bytes.max_len"),
    ],
)
def test_bad_properties_are_refused_alone(properties: bytes, rule: str) -> None:
    events = [an_event(), an_event(event_id="e2", properties_json=properties), an_event()]

    assert faults_of(*events) == {1: [rule]}


@pytest.mark.parametrize(
    "properties",
    [
        b"",
        b"{}",
        b'{"a":\n1}',
        b'{"a":1e-300}',
        b'{"a":"1e-16000", "b": "e-mail"}',
        b'{"a":"\\\\u0000"}',
        b'{"braces": "{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{"}',
        b'{"a":' + b"[" * 31 + b"]" * 31 + b"}",
        '{"ä": "ß\U0001f600"}'.encode(),
    ],
)
def test_odd_but_good_properties_pass(properties: bytes) -> None:
    assert faults_of(an_event(properties_json=properties)) == {}


def test_pieces_that_are_json_only_together_are_refused() -> None:
    # Read as one, the two lines and the third would make the right number of values.
    split = [b'{"a":[{"b":1}', b'{"c":2}]}', b'{"x":1}{"y":2}']
    events = [
        an_event(event_id=f"e{index}", properties_json=piece) for index, piece in enumerate(split)
    ]

    assert set(faults_of(*events)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("seconds", "nanos", "rules"),
    [
        (EARLIEST_SECONDS, 0, []),
        (EARLIEST_SECONDS - 1, 0, ["timestamp.range"]),
        (int(NOW.timestamp()) + 86_400, 0, []),
        (int(NOW.timestamp()) + 86_401, 0, ["timestamp.range"]),
        (253_402_300_799, 0, ["timestamp.range"]),
        (-1, 0, ["timestamp.range"]),
        (EARLIEST_SECONDS, 1_000_000_000, ["timestamp.nanos"]),
        (EARLIEST_SECONDS, -1, ["timestamp.nanos"]),
    ],
)
def test_a_time_must_be_one_a_clock_could_show(seconds: int, nanos: int, rules: list[str]) -> None:
    event = an_event()
    event.occur_time.seconds = seconds
    event.occur_time.nanos = nanos

    assert faults_of(event).get(0, []) == rules


def test_an_event_of_another_workspace_is_refused() -> None:
    assert faults_of(an_event(profile="workspaces/other/profiles/ana")) == {0: ["string.pattern"]}


def test_a_struct_says_the_same_as_its_json() -> None:
    friendly = Event(event_id="e1", type="order_placed", profile=f"{PARENT}/profiles/ana")
    friendly.properties.update({"value": 12.5, "items": [3], "far": 1e300})
    columns = convert.columns([friendly])

    assert columns.properties == [b'{"far":1e300,"items":[3],"value":12.5}']
    assert friendly.WhichOneof("properties_form") == "properties_json"


def test_a_struct_with_a_number_that_json_has_not_is_refused() -> None:
    event = Event(event_id="e1", type="order_placed", profile=f"{PARENT}/profiles/ana")
    event.properties["value"] = struct.unpack("d", b"\0\0\0\0\0\0\xf8\x7f")[0]

    assert faults_of(event) == {0: ["struct.number"]}


def test_the_first_of_two_events_with_one_id_counts() -> None:
    first, again, other = an_event(), an_event(), an_event(properties_json=b"{}")

    admission = admitted([first, again, other], [None] * 3)

    assert list(admission.fresh) == [0]
    assert list(admission.duplicates) == [1]
    assert [violations[0].fault for violations in admission.refused.values()] == [Fault.ID_REUSED]


def test_a_refused_event_does_not_make_its_repeat_a_duplicate() -> None:
    bad, good = an_event(type="BAD"), an_event()

    admission = admitted([bad, good], [None, None])

    assert (list(admission.fresh), list(admission.refused)) == ([1], [0])


def test_a_repeat_in_another_trace_is_the_same_event() -> None:
    first = an_event(traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    again = an_event(traceparent="00-" + "3" * 32 + "-" + "4" * 16 + "-01")
    untraced, malformed = an_event(), an_event(traceparent="what is this")

    assert len({*fingerprints([first, again]), *fingerprints([untraced, malformed])}) == 1


@given(st.text(min_size=1, max_size=128), st.booleans())
@example(token="x" * 128, traced=True)
@example(token="x" * 127, traced=False)
def test_a_repeat_with_another_consistency_token_is_the_same_event(
    token: str, traced: bool
) -> None:
    trace = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"} if traced else {}
    first, again = an_event(**trace), an_event(consistency_token=token, **trace)
    other = an_event(consistency_token=token, type="order_canceled")

    assert len(set(fingerprints([first, again]))) == 1
    assert len(set(fingerprints([again, other]))) == 2


@pytest.mark.parametrize("kind", sorted(RESERVED_TYPES))
def test_only_the_mesh_writes_what_the_mesh_tells_itself(kind: str) -> None:
    columns = convert.columns([an_event(), an_event(type=kind)])

    refused = check(columns, parent=PARENT, now=NOW)
    trusted = check(columns, parent=PARENT, now=NOW, may_derive=True)

    assert [violations[0].fault for violations in refused.values()] == [Fault.TYPE_RESERVED]
    assert list(refused) == [1]
    assert not trusted


def test_a_struct_is_the_same_event_in_whatever_order_it_was_written() -> None:
    one, other = an_event(), an_event()
    one.properties.update({"a": 1, "b": 2, "c": 3})
    other.properties.update({"c": 3, "b": 2, "a": 1})

    assert fingerprints([one]) == fingerprints([other])


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=12), st.data())
def test_every_event_is_fresh_duplicate_or_refused_and_never_two_of_them(
    ids: list[str], data: st.DataObject
) -> None:
    kinds = data.draw(
        st.lists(st.sampled_from(["x", "y", "BAD"]), min_size=len(ids), max_size=len(ids))
    )
    events = [an_event(event_id=i, type=kind) for i, kind in zip(ids, kinds, strict=True)]
    prints = fingerprints(events)
    known = [data.draw(st.sampled_from([None, print_, b"another!"])) for print_ in prints]

    admission = admitted(events, known)

    places = [*admission.fresh, *admission.duplicates, *admission.refused]
    assert sorted(places) == list(range(len(events)))
    fresh_ids = [ids[index] for index in admission.fresh]
    assert len(set(fresh_ids)) == len(fresh_ids)
