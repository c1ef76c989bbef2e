"""Hears who is one person, and whom to forget."""

from beckon.throttle.v1 import identity_service_pb2 as pb
from beckon.throttle.v1 import identity_service_pb2_grpc as rpc

from mesh.clock import Clock
from services.throttle import convert
from services.throttle.store import Identities, Places


class IdentityServicer(rpc.IdentityServiceServicer):
    def __init__(self, identities: Identities, places: Places, *, clock: Clock) -> None:
        self._identities = identities
        self._places = places
        self._clock = clock

    async def SetIdentities(
        self, request: pb.SetIdentitiesRequest, context: object
    ) -> pb.SetIdentitiesResponse:
        for identity in convert.identities(request):
            # Who asks from here on reserves under the new id; then the old ones are left.
            sources = await self._identities.set(identity)
            if sources:
                await self._places.unite(identity.workspace, identity.profile_id, sources)
        return pb.SetIdentitiesResponse()

    async def ErasePeople(
        self, request: pb.ErasePeopleRequest, context: object
    ) -> pb.ErasePeopleResponse:
        people = convert.people(request)
        sends = await self._places.count(people)
        counts = await self._identities.erase(
            request.erasure, people, sends=sends, now=self._clock.now()
        )
        # Last: who was united takes places under her own ids until nothing is known of her.
        await self._places.erase(people)
        return pb.ErasePeopleResponse(counts=counts)
