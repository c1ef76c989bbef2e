"""Gets, lists, changes and removes frequency caps."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.throttle.v1 import frequency_cap_service_pb2 as pb
from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as rpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import Aborted, FailedPrecondition, NotFound
from mesh.interceptors.validate import check_message
from mesh.masks import apply_update
from mesh.names import parse_name
from mesh.pages import PageTokens, page_size
from services.throttle import convert
from services.throttle.model import FrequencyCap, StoredCap
from services.throttle.rules import CAPS_MAX
from services.throttle.store import Caps

_COLLECTION = "frequencyCaps"


class FrequencyCapServicer(rpc.FrequencyCapServiceServicer):
    def __init__(self, caps: Caps, tokens: PageTokens) -> None:
        self._caps = caps
        self._tokens = tokens

    async def GetFrequencyCap(
        self, request: pb.GetFrequencyCapRequest, context: object
    ) -> pb.FrequencyCap:
        stored = await self._caps.get(*parse_name(request.name, _COLLECTION))
        if stored is None:
            raise _missing(request.name)
        return convert.frequency_cap_message(stored)

    async def ListFrequencyCaps(
        self, request: pb.ListFrequencyCapsRequest, context: object
    ) -> pb.ListFrequencyCapsResponse:
        after = self._tokens.read(request)
        size = page_size(request.page_size)
        found = await self._caps.page(
            request.parent.removeprefix("workspaces/"),
            after="" if after is None else str(after[0]),
            size=size + 1,
        )
        response = pb.ListFrequencyCapsResponse(
            frequency_caps=[convert.frequency_cap_message(one) for one in found[:size]]
        )
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].cap.cap_id,))
        return response

    async def UpdateFrequencyCap(
        self, request: pb.UpdateFrequencyCapRequest, context: object
    ) -> pb.FrequencyCap:
        workspace, cap_id = parse_name(
            request.frequency_cap.name, _COLLECTION, field="frequency_cap.name"
        )

        def change(current: StoredCap | None, count: int) -> FrequencyCap:
            if current is None:
                _require_may_create(request, count)
            return convert.frequency_cap(_merged(request, current))

        return convert.frequency_cap_message(await self._caps.change(workspace, cap_id, change))

    async def DeleteFrequencyCap(
        self, request: pb.DeleteFrequencyCapRequest, context: object
    ) -> Empty:
        found = await self._caps.delete(*parse_name(request.name, _COLLECTION))
        if not found and not request.allow_missing:
            raise _missing(request.name)
        return Empty()


def _merged(request: pb.UpdateFrequencyCapRequest, current: StoredCap | None) -> pb.FrequencyCap:
    """Return the cap as it shall be, valid.

    Only the result is held to the schema's rules: a change of one field need not
    bring the others.
    """
    patch = pb.FrequencyCap()
    patch.CopyFrom(request.frequency_cap)
    patch.ClearField("etag")
    if current is None:
        before, mask = pb.FrequencyCap(name=patch.name), FieldMask(paths=["*"])
    else:
        _require_current(request.frequency_cap, current)
        before, mask = convert.frequency_cap_message(current), request.update_mask
    merged, _ = apply_update(before, patch, mask)
    check_message(pb.UpdateFrequencyCapRequest(frequency_cap=merged))
    return merged


def _require_current(asked: pb.FrequencyCap, current: StoredCap) -> None:
    if asked.etag and asked.etag != convert.etag(current):
        raise Aborted(
            ErrorReason.ERROR_REASON_ETAG_MISMATCH,
            f"{asked.name} has changed; read it again",
            metadata={"resourceName": asked.name},
        )


def _require_may_create(request: pb.UpdateFrequencyCapRequest, count: int) -> None:
    name = request.frequency_cap.name
    if not request.allow_missing:
        raise _missing(name)
    if request.frequency_cap.etag:
        raise Aborted(
            ErrorReason.ERROR_REASON_ETAG_MISMATCH,
            f"{name} is gone, and the etag is of one that was there",
            metadata={"resourceName": name},
        )
    if count >= CAPS_MAX:
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"a workspace has at most {CAPS_MAX} frequency caps; delete one first",
            metadata={
                "resourceName": name,
                "state": f"{count} frequency caps",
                "allowedStates": f"fewer than {CAPS_MAX} frequency caps",
            },
        )


def _missing(name: str) -> NotFound:
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such frequency cap: {name}",
        metadata={"resourceName": name},
    )
