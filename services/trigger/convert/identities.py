"""What the log tells of people, and what others are to hear of them."""

from collections.abc import Callable, Mapping
from uuid import UUID, uuid5

import msgspec
from beckon.delivery.v1 import erasure_service_pb2 as delivery_pb
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1 import erasure_service_pb2 as profile_pb
from beckon.profile.v1 import observation_service_pb2 as observation_pb
from beckon.throttle.v1 import identity_service_pb2 as throttle_pb

from mesh import tracing
from mesh.ids import event_uid
from mesh.names import format_name
from services.trigger.convert.events import profile_of
from services.trigger.convert.times import from_us
from services.trigger.model import (
    Erasure,
    Identity,
    IdentityChange,
    Notice,
    NoticeKind,
    Occurrence,
    Trace,
)

# Names of notices; a notice that is owed twice is owed once.
_NOTICES = UUID("0d8b1f64-7d5a-5b7e-9a51-4c1f5f3e6b02")


class _Union(msgspec.Struct):
    member_ids: list[str]
    version: int


class _Erasure(msgspec.Struct):
    erasure: str
    profile_ids: list[str]


class _Identity(msgspec.Struct):
    profile: str
    member_ids: list[str]
    version: int


class _People(msgspec.Struct):
    workspace: str
    erasure: str
    profiles: list[str]


class _Removal(msgspec.Struct):
    name: str
    service: str
    counts: dict[str, int]


_unions = msgspec.json.Decoder(_Union)
_erasures = msgspec.json.Decoder(_Erasure)
_properties = msgspec.json.Decoder(dict[str, object])
_encode = msgspec.json.Encoder().encode


def _to_identity(record: LogRecord, event: Event) -> Identity:
    told = _unions.decode(event.properties_json)
    profile = profile_of(event)
    return Identity(record.workspace, profile, tuple(told.member_ids), told.version)


def _to_erasure(record: LogRecord, event: Event) -> Erasure:
    told = _erasures.decode(event.properties_json)
    return Erasure(record.workspace, told.erasure.rpartition("/")[2], tuple(told.profile_ids))


_CHANGES: Mapping[str, Callable[[LogRecord, Event], IdentityChange]] = {
    # United or parted: which ids are the person who goes by the event's profile.
    "profile_merged": _to_identity,
    "profile_unmerged": _to_identity,
    "profile_erased": _to_erasure,
}


def is_change(type_: str) -> bool:
    """Say whether events of a type tell who is who; they are profile's, no caller may send them."""
    return type_ in _CHANGES


def to_change(record: LogRecord, event: Event) -> IdentityChange:
    """Return what an event tells of people.

    Raises:
        ValueError: Its properties say nothing of the kind.
    """
    return _CHANGES[event.type](record, event)


def to_found(
    workspace: str, profile: str, found: observation_pb.BatchFindEventsResponse.Event
) -> Occurrence:
    """Return an event that profile found for a person who goes by `profile`."""
    uid = event_uid(workspace, found.event_id)
    raw = found.properties_json or b"{}"
    return Occurrence(
        uid=uid,
        event_id=found.event_id,
        type=found.type,
        workspace=workspace,
        profile=profile,
        occur_time=from_us(found.occur_time_us),
        receive_time=from_us(found.receive_time_us),
        properties=_properties.decode(raw),
        properties_json=raw,
        # History does not keep the caller's: it goes on under that of its own.
        trace=Trace(*tracing.trace_of("", uid)),
        member="" if found.profile_id in ("", profile) else found.profile_id,
    )


def notice_of_identity(identity: Identity) -> Notice:
    """Return what throttle is to hear of people who are united or parted."""
    profile = format_name(identity.workspace, "profiles", identity.profile)
    return Notice(
        uuid5(_NOTICES, f"identity/{profile}/{identity.version}"),
        NoticeKind.IDENTITY,
        _encode(_Identity(profile, list(identity.members), identity.version)),
    )


def notices_of_erasure(erasure: Erasure) -> list[Notice]:
    """Return what throttle and delivery are to do about people who are erased."""
    profiles = [format_name(erasure.workspace, "profiles", one) for one in erasure.profiles]
    payload = _encode(_People(erasure.workspace, erasure.erasure, profiles))
    return [
        Notice(
            uuid5(_NOTICES, f"{kind.value}/{erasure.workspace}/{erasure.erasure}"), kind, payload
        )
        for kind in (NoticeKind.ERASE_AT_THROTTLE, NoticeKind.ERASE_AT_DELIVERY)
    ]


def notice_of_removal(
    workspace: str, erasure: str, service: str, counts: Mapping[str, int]
) -> Notice:
    """Return what profile is to hear of what a service has removed."""
    name = format_name(workspace, "erasures", erasure)
    return Notice(
        uuid5(_NOTICES, f"removal/{name}/{service}"),
        NoticeKind.REMOVAL,
        _encode(_Removal(name, service, dict(counts))),
    )


def to_set_identities(notice: Notice) -> throttle_pb.SetIdentitiesRequest:
    """Return what throttle is told."""
    told = msgspec.json.decode(notice.payload, type=_Identity)
    return throttle_pb.SetIdentitiesRequest(
        identities=[
            throttle_pb.SetIdentitiesRequest.Identity(
                profile=told.profile, member_ids=told.member_ids, version=told.version
            )
        ]
    )


def to_erase_at_throttle(notice: Notice) -> throttle_pb.ErasePeopleRequest:
    """Return whom throttle is to forget."""
    told = _people(notice)
    return throttle_pb.ErasePeopleRequest(profiles=told.profiles, erasure=_receipt(told))


def to_erase_at_delivery(notice: Notice) -> delivery_pb.ErasePeopleRequest:
    """Return whom delivery is to forget."""
    told = _people(notice)
    return delivery_pb.ErasePeopleRequest(profiles=told.profiles, erasure=_receipt(told))


def to_removal(notice: Notice) -> profile_pb.RecordErasureRequest:
    """Return what profile is told."""
    told = msgspec.json.decode(notice.payload, type=_Removal)
    return profile_pb.RecordErasureRequest(
        name=told.name,
        removal=profile_pb.Erasure.Removal(service=told.service, counts=told.counts),
    )


def removal_of(notice: Notice, service: str, counts: Mapping[str, int]) -> Notice:
    """Return what profile is to hear after a service has answered."""
    told = _people(notice)
    return notice_of_removal(told.workspace, told.erasure, service, counts)


def _people(notice: Notice) -> _People:
    return msgspec.json.decode(notice.payload, type=_People)


def _receipt(told: _People) -> str:
    return format_name(told.workspace, "erasures", told.erasure)
