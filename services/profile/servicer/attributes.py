"""What callers may ask about the attributes of a workspace, and declare."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import attribute_service_pb2 as pb
from beckon.profile.v1 import attribute_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import NotFound, invalid_field
from mesh.names import format_name, workspace_of
from mesh.pages import PageTokens, page_size
from services.profile.convert import attributes as convert
from services.profile.model.attributes import AttributeType
from services.profile.rules.attributes import KEY_FORM, is_key
from services.profile.rules.facts import FORMS
from services.profile.store.attributes import Attributes


class AttributeServicer(rpc.AttributeServiceServicer):
    def __init__(self, store: Attributes, clock: Clock, tokens: PageTokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def CreateAttribute(
        self, request: pb.CreateAttributeRequest, context: object
    ) -> pb.Attribute:
        name = request.attribute.name
        workspace, key = convert.parse_name(name, field="attribute.name")
        if not is_key(key) or key in FORMS:
            description = "is a field of the profile" if key in FORMS else KEY_FORM
            raise invalid_field("attribute.name", description)
        kind = AttributeType(request.attribute.type)
        refused = await self._store.declare(workspace, key, kind, self._clock.now())
        if refused is not None:
            raise convert.refusal(refused)
        return await self._get(workspace, key)

    async def GetAttribute(self, request: pb.GetAttributeRequest, context: object) -> pb.Attribute:
        return await self._get(*convert.parse_name(request.name, field="name"))

    async def ListAttributes(
        self, request: pb.ListAttributesRequest, context: object
    ) -> pb.ListAttributesResponse:
        workspace, size = workspace_of(request.parent, field="parent"), page_size(request.page_size)
        token = self._tokens.read(request)
        after = str(token[0]) if token else ""
        found = await self._store.page(workspace, after, limit=size + 1)
        response = pb.ListAttributesResponse(
            attributes=[convert.attribute(workspace, *one) for one in found[:size]]
        )
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].key,))
        return response

    async def _get(self, workspace: str, key: str) -> pb.Attribute:
        # What can be no key may be what PostgreSQL cannot even be asked for.
        found = await self._store.get(workspace, key) if is_key(key) else None
        if found is None:
            name = format_name(workspace, "attributes", key)
            raise NotFound(
                ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
                f"no such attribute: {name}",
                metadata={"resourceName": name},
            )
        return convert.attribute(workspace, *found)
