"""Segments and memberships on the wire."""

from collections.abc import Iterable, Sequence

from beckon.profile.v1 import segment_service_pb2 as pb

from mesh.errors import FieldViolation, InvalidArgument
from mesh.masks import apply_update
from mesh.names import format_name
from services.profile.convert.predicates import compile_filter
from services.profile.model import PersonKey
from services.profile.model.memberships import ConditionAnswer, Membership, SegmentDefinition
from services.profile.model.segments import Filter


def chosen(source: str, field: str) -> Filter:
    """Return a filter that a caller sent in this field.

    Raises:
        InvalidArgument: It does not compile; the field is named.
    """
    try:
        return compile_filter(source)
    except InvalidArgument as error:
        raise InvalidArgument(
            error.reason,
            f"{field}: {error.message}",
            metadata=error.metadata,
            violations=[FieldViolation(field, error.message, "cel")],
        ) from None


def segment(found: SegmentDefinition) -> pb.Segment:
    """Return a segment as callers see it."""
    message = pb.Segment(
        name=format_name(found.workspace, "segments", found.segment_id),
        filter=found.filter,
        description=found.description,
        state=pb.Segment.State.ValueType(found.state),
        build_progress=found.progress,
        member_count=found.member_count,
        etag=etag(found),
    )
    message.create_time.FromDatetime(found.create_time)
    message.update_time.FromDatetime(found.update_time)
    return message


def etag(found: SegmentDefinition) -> str:
    """Return what changes with every change; of one created anew under the name, another."""
    return f'"{found.create_time.timestamp():.6f}-{found.version}"'


def revised(there: SegmentDefinition | None, request: pb.UpdateSegmentRequest) -> pb.Segment:
    """Return the segment as the update wants it."""
    before = pb.Segment(name=request.segment.name) if there is None else segment(there)
    after, _ = apply_update(before, request.segment, request.update_mask)
    return after


def membership(
    segment_name: str, person: PersonKey, found: Membership, due_us: int | None
) -> pb.SegmentMembership:
    """Return how a person stands to a segment."""
    message = pb.SegmentMembership(
        segment=segment_name,
        profile=format_name(person[0], "profiles", person[1]),
        member=found.member,
    )
    if found.member:
        message.enter_time.FromMicroseconds(found.enter_us)
    if found.exit_us:
        message.exit_time.FromMicroseconds(found.exit_us)
    if due_us is not None:
        message.due_time.FromMicroseconds(due_us)
    return message


def members(
    segment_name: str, workspace: str, found: Iterable[tuple[str, Membership]]
) -> list[pb.SegmentMembership]:
    """Return who is in a segment."""
    return [
        membership(segment_name, (workspace, person_id), one, one.due_us)
        for person_id, one in found
    ]


def conditions(answers: Sequence[ConditionAnswer]) -> list[pb.SegmentMembership.Condition]:
    """Return what each condition says."""
    return [
        pb.SegmentMembership.Condition(
            expression=one.expression, holds=one.holds is True, unknown=one.holds is None
        )
        for one in answers
    ]
