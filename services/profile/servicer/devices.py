"""Registering, releasing and showing devices."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import device_service_pb2 as pb
from beckon.profile.v1 import device_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import NotFound, invalid_field
from mesh.names import parse_name
from mesh.pages import OrderKey, PageTokens, page_size
from services.profile.convert import devices as convert
from services.profile.rules.devices import place
from services.profile.store.devices import LATEST, Devices


class DeviceServicer(rpc.DeviceServiceServicer):
    def __init__(self, store: Devices, clock: Clock, tokens: PageTokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def RegisterDevice(self, request: pb.RegisterDeviceRequest, context: object) -> pb.Device:
        key = parse_name(request.profile, "profiles", field="profile")
        registration, now = convert.registration(key[0], request), self._clock.now()
        person, device = await self._store.register(key, registration, now)
        return convert.device(person, device, now)

    async def ReleaseDevice(self, request: pb.ReleaseDeviceRequest, context: object) -> pb.Device:
        key, device_id = convert.device_key(request.name)
        now = self._clock.now()
        released = await self._store.release(key, device_id, now)
        if released is None:
            raise _not_found(request.name)
        return convert.device(*released, now)

    async def GetDevice(self, request: pb.GetDeviceRequest, context: object) -> pb.Device:
        key, device_id = convert.device_key(request.name)
        person, devices = await self._store.of(key)
        for device in devices:
            if device.device_id == device_id:
                return convert.device(person, device, self._clock.now())
        raise _not_found(request.name)

    async def ListDevices(
        self, request: pb.ListDevicesRequest, context: object
    ) -> pb.ListDevicesResponse:
        key = parse_name(request.parent, "profiles", field="parent")
        size, after = page_size(request.page_size), self._tokens.read(request)
        person, devices = await self._store.of(key)
        if after is not None:
            devices = [one for one in devices if place(one) < after]
        now = self._clock.now()
        response = pb.ListDevicesResponse(
            devices=[convert.device(person, one, now) for one in devices[:size]]
        )
        if len(devices) > size:
            response.next_page_token = self._tokens.write(request, place(devices[size - 1]))
        return response

    async def ListDeviceTransfers(
        self, request: pb.ListDeviceTransfersRequest, context: object
    ) -> pb.ListDeviceTransfersResponse:
        key = parse_name(request.parent, "profiles", field="parent")
        size, after = page_size(request.page_size), self._tokens.read(request)
        person, found = await self._store.transfers(key, before=_before(after), limit=size + 1)
        response = pb.ListDeviceTransfersResponse(
            transfers=[convert.transfer(person, one) for one in found[:size]]
        )
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].transfer_id,))
        return response

    async def RetireDevices(
        self, request: pb.RetireDevicesRequest, context: object
    ) -> pb.RetireDevicesResponse:
        reports = convert.reports(request.items)
        count = await self._store.retire(reports, self._clock.now())
        return pb.RetireDevicesResponse(retired_count=count)


def _before(token: OrderKey | None) -> int:
    match token:
        case None:
            return LATEST
        case (int(transfer_id),):
            return transfer_id
        case _:
            raise invalid_field("page_token", "is not one of ours", reason="page_token")


def _not_found(name: str) -> NotFound:
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such device: {name}",
        metadata={"resourceName": name},
    )
