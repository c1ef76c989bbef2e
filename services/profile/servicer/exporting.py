"""Everything that profile keeps of one person, streamed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from beckon.profile.v1 import device_service_pb2 as device_pb
from beckon.profile.v1 import profile_service_pb2 as pb
from beckon.profile.v1 import relation_service_pb2 as relation_pb

# An event has up to 32 KiB of properties: this bounds what is held in memory.
_PAGE_SIZE = 200


class _Request(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str


_Q = TypeVar("_Q", bound=_Request)
_P = TypeVar("_P", bound=_Page)
_T = TypeVar("_T")


class Profiles(Protocol):
    """Answers about people."""

    async def ExplainProfile(
        self, request: pb.ExplainProfileRequest, context: object
    ) -> pb.ProfileExplanation: ...

    async def ListProfileEvents(
        self, request: pb.ListProfileEventsRequest, context: object
    ) -> pb.ListProfileEventsResponse: ...


class Devices(Protocol):
    """Answers about devices."""

    async def ListDevices(
        self, request: device_pb.ListDevicesRequest, context: object
    ) -> device_pb.ListDevicesResponse: ...

    async def ListDeviceTransfers(
        self, request: device_pb.ListDeviceTransfersRequest, context: object
    ) -> device_pb.ListDeviceTransfersResponse: ...


class Relations(Protocol):
    """Answers about relations."""

    async def ListRelations(
        self, request: relation_pb.ListRelationsRequest, context: object
    ) -> relation_pb.ListRelationsResponse: ...


class Exporter:
    """Walks all that is shown of a person, page by page.

    A stream may last as long as its reader takes: nothing is held meanwhile, neither
    a transaction nor more than a page.
    """

    def __init__(self, devices: Devices, relations: Relations) -> None:
        """Take who answers about what belongs to a person."""
        self._devices = devices
        self._relations = relations

    async def export(
        self, name: str, profiles: Profiles
    ) -> AsyncIterator[pb.ExportProfileResponse]:
        """Stream everything of a profile.

        Raises:
            NotFound: There is no such profile.
        """
        explained = await profiles.ExplainProfile(pb.ExplainProfileRequest(name=name), None)
        # From here on under the name that stays.
        name = explained.profile.name
        yield pb.ExportProfileResponse(profile=explained)
        async for device in self._of_devices(name):
            yield pb.ExportProfileResponse(device=device)
        async for transfer in self._of_transfers(name):
            yield pb.ExportProfileResponse(device_transfer=transfer)
        for incoming in (False, True):
            async for relation in self._of_relations(name, incoming=incoming):
                yield pb.ExportProfileResponse(relation=relation)
        events = pb.ListProfileEventsRequest(parent=name, page_size=_PAGE_SIZE)
        async for event in _walk(profiles.ListProfileEvents, events, lambda page: page.events):
            yield pb.ExportProfileResponse(event=event)

    def _of_devices(self, name: str) -> AsyncIterator[device_pb.Device]:
        request = device_pb.ListDevicesRequest(parent=name, page_size=_PAGE_SIZE)
        return _walk(self._devices.ListDevices, request, lambda page: page.devices)

    def _of_transfers(self, name: str) -> AsyncIterator[device_pb.DeviceTransfer]:
        request = device_pb.ListDeviceTransfersRequest(parent=name, page_size=_PAGE_SIZE)
        return _walk(self._devices.ListDeviceTransfers, request, lambda page: page.transfers)

    def _of_relations(self, name: str, *, incoming: bool) -> AsyncIterator[relation_pb.Relation]:
        request = relation_pb.ListRelationsRequest(
            parent=name, incoming=incoming, page_size=_PAGE_SIZE
        )
        return _walk(self._relations.ListRelations, request, lambda page: page.relations)


async def _walk(
    ask: Callable[[_Q, object], Awaitable[_P]],
    request: _Q,
    items: Callable[[_P], Iterable[_T]],
) -> AsyncIterator[_T]:
    while True:
        page = await ask(request, None)
        for item in items(page):
            yield item
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
