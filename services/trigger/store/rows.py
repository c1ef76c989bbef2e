"""Enrollments as rows and back."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from mesh.ids import shard_of
from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    Gate,
    Key,
    Occurrence,
    Trace,
)

COLUMNS = (
    "workspace",
    "profile",
    "campaign",
    "event_uid",
    "shard",
    "state",
    "revision",
    "event_id",
    "event_type",
    "actor",
    "occur_time",
    "receive_time",
    "properties",
    "trace_id",
    "parent_span_id",
    "sampled",
    "entry_time",
    "due_time",
    "wake_time",
    "expire_time",
    "decide_time",
    "release_time",
    "lease_until",
    "campaign_version",
    "channel",
    "template",
    "critical",
    "gates",
    "member",
    "variant",
    "reentry_key",
    "digest_key",
    "broadcast",
    "time_zone",
    "slot_time",
    "dwelling",
)

_encoder = msgspec.json.Encoder()
_gates = msgspec.json.Decoder(list[Gate])
_properties = msgspec.json.Decoder(dict[str, Any])


def write_gates(gates: Sequence[Gate]) -> bytes:
    """Return gates as they are stored."""
    return _encoder.encode(gates)


def read_gates(stored: bytes) -> tuple[Gate, ...]:
    """Return stored gates."""
    return tuple(_gates.decode(stored))


def row_of(passage: Enrollment, lease_until: object) -> tuple[object, ...]:
    """Return the values of `COLUMNS` for a new enrollment."""
    key, event = passage.key, passage.event
    return (
        key.workspace,
        key.profile,
        key.campaign,
        event.uid,
        shard_of(key.workspace, key.profile),
        int(passage.state),
        1,
        event.event_id,
        event.type,
        event.profile,
        event.occur_time,
        event.receive_time,
        event.properties_json,
        event.trace.trace_id,
        event.trace.parent_span_id,
        event.trace.sampled,
        passage.entry_time,
        passage.due_time,
        passage.wake_time,
        passage.expire_time,
        passage.decide_time,
        passage.release_time,
        lease_until,
        passage.campaign_version,
        passage.channel,
        passage.template,
        passage.critical,
        write_gates(passage.gates),
        passage.member,
        passage.variant,
        passage.reentry_key,
        passage.digest_key,
        passage.broadcast,
        passage.time_zone,
        passage.slot_time,
        passage.dwelling,
    )


def enrollment_of(row: asyncpg.Record) -> Enrollment:
    """Return the enrollment that a row holds."""
    stored: bytes = row["properties"]
    event_uid: UUID = row["event_uid"]
    return Enrollment(
        key=Key(row["workspace"], row["profile"], row["campaign"]),
        event=Occurrence(
            uid=event_uid,
            event_id=row["event_id"],
            type=row["event_type"],
            workspace=row["workspace"],
            profile=row["actor"],
            occur_time=row["occur_time"],
            receive_time=row["receive_time"],
            properties=_properties.decode(stored),
            properties_json=stored,
            trace=Trace(row["trace_id"], row["parent_span_id"], row["sampled"]),
        ),
        state=EnrollmentState(row["state"]),
        revision=row["revision"],
        entry_time=row["entry_time"],
        due_time=row["due_time"],
        wake_time=row["wake_time"],
        expire_time=row["expire_time"],
        decide_time=row["decide_time"],
        release_time=row["release_time"],
        campaign_version=row["campaign_version"],
        channel=row["channel"],
        template=row["template"],
        critical=row["critical"],
        gates=read_gates(row["gates"]),
        member=row["member"],
        variant=row["variant"],
        reentry_key=row["reentry_key"],
        digest_key=row["digest_key"],
        broadcast=row["broadcast"],
        time_zone=row["time_zone"],
        slot_time=row["slot_time"],
        dwelling=row["dwelling"],
    )
