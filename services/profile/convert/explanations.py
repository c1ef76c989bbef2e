"""Where what is known of a person comes from, out."""

from collections.abc import Iterable, Mapping

from beckon.profile.v1 import profile_service_pb2 as pb
from beckon.profile.v1 import segment_service_pb2 as segment_pb

from mesh.names import format_name
from services.profile.convert.profiles import counters
from services.profile.convert.segments import membership
from services.profile.model import PersonKey
from services.profile.model.memberships import Membership
from services.profile.model.persons import Recorded


def members(contributions: Mapping[str, Recorded]) -> list[pb.ProfileExplanation.Member]:
    """Return what was recorded under each id."""
    return [_member(one, contributions[one]) for one in sorted(contributions)]


def sources(found: Mapping[str, tuple[str, int]]) -> list[pb.ProfileExplanation.Source]:
    """Return under which id each attribute and address was written, and when."""
    shown: list[pb.ProfileExplanation.Source] = []
    for key in sorted(found):
        profile_id, at_us = found[key]
        source = pb.ProfileExplanation.Source(key=key, profile_id=profile_id)
        if at_us:
            source.write_time.FromMicroseconds(at_us)
        shown.append(source)
    return shown


def memberships(
    person: PersonKey, found: Iterable[tuple[str, Membership]]
) -> list[segment_pb.SegmentMembership]:
    """Return the segments that the person is in."""
    return [
        membership(format_name(person[0], "segments", segment_id), person, one, one.due_us)
        for segment_id, one in found
    ]


def _member(profile_id: str, recorded: Recorded) -> pb.ProfileExplanation.Member:
    profile = recorded.profile
    message = pb.ProfileExplanation.Member(
        profile_id=profile_id, counters=counters(profile.counters)
    )
    if profile.first_seen_us:
        message.first_seen_time.FromMicroseconds(profile.first_seen_us)
    if profile.last_seen_us:
        message.last_seen_time.FromMicroseconds(profile.last_seen_us)
    return message
