"""Makes sure that what trigger says on the wire is what the contracts mean."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1.observation_service_pb2 import ObservedRecord, ObserveEventsRequest
from beckon.throttle.v1.throttle_service_pb2 import Verdict
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.convert import DATA_BYTES_MAX
from services.ingest.rules import PROPERTIES_BYTES_MAX
from services.profile.rules import ATTRIBUTE_BYTES_MAX, COUNTER_TYPES_MAX
from services.trigger.convert.events import quarantined_record, to_data, to_occurrence
from services.trigger.convert.sends import to_verdict
from services.trigger.convert.times import from_timestamp, to_timestamp
from services.trigger.convert.wire import observe_request, varint
from services.trigger.model import Allowed
from tests.unit.trigger.builders import NOW, a_person, an_occurrence


def a_record(*event_ids: str, workspace: str = "acme") -> LogRecord:
    """Return a record of the log."""
    return LogRecord(
        workspace=workspace,
        receive_time_us=to_timestamp(NOW).ToMicroseconds(),
        events=[
            Event(event_id=one, type="t", profile=f"workspaces/{workspace}/profiles/ana")
            for one in event_ids
        ],
    )


@given(
    records=st.lists(
        st.tuples(
            st.integers(0, 1023),
            st.text("0123456789-", max_size=40),
            st.lists(st.text("ab", min_size=1, max_size=200), max_size=3),
        ),
        max_size=4,
    ),
    types=st.lists(st.text("abc", min_size=1, max_size=63), max_size=4),
)
def test_a_request_put_together_by_hand_is_the_message(
    records: list[tuple[int, str, list[str]]], types: list[str]
) -> None:
    message = ObserveEventsRequest(
        records=[
            ObservedRecord(partition=partition, position=position, record=a_record(*ids))
            for partition, position, ids in records
        ],
        standing_types=types,
    )

    written = observe_request(
        [(one, position, a_record(*ids).SerializeToString()) for one, position, ids in records],
        types,
    )

    assert ObserveEventsRequest.FromString(written) == message


@pytest.mark.parametrize(
    ("number", "written"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")]
)
def test_numbers_are_written_in_base_128(number: int, written: bytes) -> None:
    assert varint(number) == written


@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_a_moment_survives_the_wire(moment: datetime) -> None:
    assert from_timestamp(to_timestamp(moment)) == moment


def test_an_occurrence_is_corrected_by_the_clocks_offset() -> None:
    record = a_record("e")
    record.clock_offset_us = -5_000_000
    record.events[0].occur_time.CopyFrom(to_timestamp(NOW))

    assert to_occurrence(record, record.events[0]).occur_time == NOW - timedelta(seconds=5)


def test_an_event_without_a_time_occurred_when_it_was_received() -> None:
    record = a_record("e")
    record.clock_offset_us = -5_000_000

    assert to_occurrence(record, record.events[0]).occur_time == NOW


@pytest.mark.parametrize("properties", [b"{", b"[]", b'"text"', b"\xff"])
def test_properties_that_are_no_object_cannot_be_judged(properties: bytes) -> None:
    record = a_record("e")
    record.events[0].properties_json = properties

    with pytest.raises(ValueError):  # noqa: PT011 — which of its kinds does not matter
        to_occurrence(record, record.events[0])


def test_a_template_gets_what_came_as_it_came() -> None:
    data = msgspec.json.decode(to_data(an_occurrence(event_id="e"), a_person()))

    assert data == {
        "event": {
            "id": "e",
            "type": "cart_filled",
            "occur_time": "2026-03-01T12:00:00Z",
            "properties": {},
        },
        "profile": {
            "id": "ana",
            "attributes": {},
            "counters": {},
            "traits": {},
            "time_zone": "",
            "locale": "",
            "first_seen_time": None,
            "last_seen_time": None,
        },
    }


@pytest.mark.parametrize(
    ("payload", "workspace"),
    [
        (b"\x0a\x04acme\xff", "acme"),
        (b"\x0a\x04ac", "unreadable"),
        (b"\x0a\x04AC/E\xff", "unreadable"),
        (b"", "unreadable"),
        (b"\xff\xff", "unreadable"),
    ],
)
def test_an_unreadable_record_is_filed_under_its_workspace_if_it_says_one(
    payload: bytes, workspace: str
) -> None:
    assert quarantined_record(payload, partition=0, position="1-0", now=NOW).workspace == workspace


def test_silence_is_no_verdict() -> None:
    assert to_verdict(Verdict(allow=Verdict.Allow())) == Allowed()
    with pytest.raises(ValueError, match="no verdict"):
        to_verdict(Verdict())


def test_the_largest_event_of_the_largest_person_can_be_delivered() -> None:
    types = {f"t{number:062}": 10**9 for number in range(COUNTER_TYPES_MAX)}
    person = replace(
        a_person("p" * 128, dict.fromkeys(types, NOW)),
        counts=types,
        attributes_json=b'{"a": "%s"}' % (b"x" * (ATTRIBUTE_BYTES_MAX - 9)),
    )
    properties = b'{"a":"%s"}' % (b"x" * (PROPERTIES_BYTES_MAX - 8))
    event = replace(an_occurrence(event_id="e" * 128), properties_json=properties)

    assert 130_000 < len(to_data(event, person)) <= DATA_BYTES_MAX
