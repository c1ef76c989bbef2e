"""Reads the members of a segment with their profiles, a thousand at a time."""

from collections.abc import AsyncIterator, Sequence

import grpc.aio
from beckon.profile.v1 import attribute_service_pb2 as attributes_pb
from beckon.profile.v1 import attribute_service_pb2_grpc as attributes_rpc
from beckon.profile.v1 import profile_service_pb2 as profiles_pb
from beckon.profile.v1 import profile_service_pb2_grpc as profiles_rpc
from beckon.profile.v1 import segment_service_pb2 as segments_pb
from beckon.profile.v1 import segment_service_pb2_grpc as segments_rpc
from beckon.profile.v1 import trait_service_pb2 as traits_pb
from beckon.profile.v1 import trait_service_pb2_grpc as traits_rpc

from cli.exports.tables import Column, Kind
from cli.output import last
from cli.pages import pages
from cli.session import Session
from cli.streams import resumed

Profiles = Sequence[profiles_pb.Profile]

_KINDS = {
    attributes_pb.Attribute.TYPE_NUMBER: Kind.NUMBER,
    attributes_pb.Attribute.TYPE_BOOLEAN: Kind.BOOLEAN,
    attributes_pb.Attribute.TYPE_TIMESTAMP: Kind.TIMESTAMP,
    attributes_pb.Attribute.TYPE_LIST: Kind.JSON,
    attributes_pb.Attribute.TYPE_OBJECT: Kind.JSON,
}


async def members(session: Session, segment: str) -> AsyncIterator[Profiles]:
    """Yield the profiles of all members, by id."""
    channel = await session.channel("profile")
    segments = segments_rpc.SegmentServiceStub(channel)
    profiles = profiles_rpc.ProfileServiceStub(channel)
    request = segments_pb.StreamSegmentMembersRequest(name=segment)

    def resume_after(response: segments_pb.StreamSegmentMembersResponse) -> None:
        request.after = response.members[-1].profile

    async for response in resumed(segments.StreamSegmentMembers, request, resume_after):
        names = [member.profile for member in response.members]
        yield await _profiles(profiles, session.parent, names)


async def _profiles(
    stub: "profiles_rpc.ProfileServiceAsyncStub", parent: str, names: Sequence[str]
) -> Profiles:
    """Return profiles; who was erased since she was named is left out."""
    request = profiles_pb.BatchGetProfilesRequest(parent=parent, names=names)
    try:
        return (await stub.BatchGetProfiles(request)).profiles
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
    if len(names) == 1:
        return []
    half = len(names) // 2
    first = await _profiles(stub, parent, names[:half])
    return [*first, *await _profiles(stub, parent, names[half:])]


async def columns(session: Session) -> list[Column]:
    """Return the columns of a table of profiles, by what the workspace knows of people."""
    channel = await session.channel("profile")
    attributes = attributes_rpc.AttributeServiceStub(channel)
    found = [
        Column("id", Kind.TEXT, lambda profile: last(profile["name"])),
        *(_field(name, Kind.TEXT) for name in ("email", "phone", "time_zone", "locale")),
        *(_field(f"{name}_time", Kind.TIMESTAMP) for name in ("create", "first_seen", "last_seen")),
    ]
    request = attributes_pb.ListAttributesRequest(parent=session.parent)
    async for page in pages(attributes.ListAttributes, request, lambda one: one.attributes):
        for attribute in page:
            # Keys may hold anything but a slash.
            key = last(attribute.name)
            found.append(_inner("attributes", key, _KINDS.get(attribute.type, Kind.TEXT)))
    traits = traits_rpc.TraitServiceStub(channel)
    asked = traits_pb.ListTraitsRequest(parent=session.parent)
    async for traits_page in pages(traits.ListTraits, asked, lambda one: one.traits):
        for trait in traits_page:
            found.append(_inner("traits", last(trait.name), Kind.NUMBER))
            if trait.compare:
                found.append(_inner("traits", f"{last(trait.name)}_previous", Kind.NUMBER))
    return found


def _field(name: str, kind: Kind) -> Column:
    return Column(name, kind, lambda profile: profile.get(name))


def _inner(outer: str, key: str, kind: Kind) -> Column:
    return Column(f"{outer}.{key}", kind, lambda profile: profile.get(outer, {}).get(key))
