"""Traits and segments as manifests want them, spoken over with profile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import segment_service_pb2 as segments_pb
from beckon.profile.v1 import segment_service_pb2_grpc as segments_rpc
from beckon.profile.v1 import trait_service_pb2 as traits_pb
from beckon.profile.v1 import trait_service_pb2_grpc as traits_rpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message as ProtoMessage

from cli.manifests.decode import Document
from cli.session import Session
from mesh.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Definitions:
    """The way to who keeps them."""

    traits: "traits_rpc.TraitServiceAsyncStub"
    segments: "segments_rpc.SegmentServiceAsyncStub"
    parent: str

    @classmethod
    async def of(cls, session: Session) -> Self:
        """Open what is needed."""
        channel = await session.channel("profile")
        return cls(
            traits_rpc.TraitServiceStub(channel),
            segments_rpc.SegmentServiceStub(channel),
            session.parent,
        )

    async def get(self, document: Document) -> ProtoMessage:
        """Return what there is; the service refuses where there is nothing."""
        if isinstance(document.message, traits_pb.Trait):
            return await self.traits.GetTrait(traits_pb.GetTraitRequest(name=document.name))
        return await self.segments.GetSegment(segments_pb.GetSegmentRequest(name=document.name))

    async def check(self, document: Document, paths: Sequence[str] | None) -> None:
        """Look at a definition that would change something; write nothing.

        Raises:
            MeshError: It cannot be brought about.
        """
        message = document.message
        if isinstance(message, traits_pb.Trait):
            _check_trait(message, known=paths is not None)
        elif isinstance(message, segments_pb.Segment):
            # Counting is how profile says what it thinks of a filter without keeping it.
            await self.segments.CountSegmentMembers(
                segments_pb.CountSegmentMembersRequest(parent=self.parent, filter=message.filter)
            )

    async def write(
        self,
        document: Document,
        paths: Sequence[str] | None,  # noqa: ARG002 — of the port
    ) -> ProtoMessage:
        """Bring a definition about."""
        message = document.message
        if isinstance(message, traits_pb.Trait):
            return await self.traits.CreateTrait(traits_pb.CreateTraitRequest(trait=message))
        assert isinstance(message, segments_pb.Segment)
        return await self.segments.UpdateSegment(
            segments_pb.UpdateSegmentRequest(
                segment=message, update_mask=FieldMask(paths=["*"]), allow_missing=True
            )
        )


def _check_trait(trait: traits_pb.Trait, *, known: bool) -> None:
    if known:
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            "a trait does not change, as its values would not be what they were:"
            " give the new one another id, or delete the old one first",
        )
    if trait.filter:
        # The library of the expressions is heavy, and most manifests have no trait.
        from mesh.expressions import compile_expression

        compile_expression(trait.filter)
