"""DeliveryService: queue, look, cancel, redrive."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as rpc
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, invalid_field
from mesh.names import format_name, parse_name, workspace_of
from mesh.pages import PageTokens, page_size
from services.delivery import convert
from services.delivery.model import Channel, Claimed, NewDelivery, State
from services.delivery.store import DeliveryStore, ErasureStore, ListFilter

# What a redriven delivery gets: the campaign's own time is mostly over.
_REDRIVE_TTL = timedelta(hours=72)


class Lane(Protocol):
    """The worker of one channel, which may take new deliveries at once."""

    @property
    def repeat_safe(self) -> bool:
        """Whether its provider drops repeats."""
        ...

    @property
    def lease(self) -> timedelta:
        """How long a delivery is in its hands."""
        ...

    def reserve(self, count: int) -> int:
        """Return for how many there is room."""
        ...

    def accept(self, deliveries: Sequence[Claimed], *, reserved: int) -> None:
        """Take them, and give back the reservation."""
        ...

    def recall(self, delivery_ids: Collection[UUID]) -> list[Claimed]:
        """Give up those that wait in its hands, and return them; none of them will be sent."""
        ...

    def notice(self) -> None:
        """Look into the queue soon."""
        ...


Lanes = Mapping[Channel, Lane]


class DeliveryServicer(rpc.DeliveryServiceServicer):
    def __init__(
        self,
        store: DeliveryStore,
        erasures: ErasureStore,
        lanes: Lanes,
        clock: Clock,
        *,
        tokens: PageTokens,
    ) -> None:
        self._store = store
        self._erasures = erasures
        self._lanes = lanes
        self._clock = clock
        self._tokens = tokens

    async def GetDelivery(self, request: pb.GetDeliveryRequest, context: object) -> pb.Delivery:
        workspace, key = convert.delivery_name(request.name)
        found = await self._store.get(workspace, key)
        if found is None:
            raise convert.not_found(request.name, "delivery")
        return convert.delivery(found)

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: object
    ) -> pb.ListDeliveriesResponse:
        size = page_size(request.page_size)
        found = await self._store.list(self._filter(request), size + 1)
        response = pb.ListDeliveriesResponse(deliveries=map(convert.delivery, found[:size]))
        if len(found) > size:
            last = found[size - 1]
            response.next_page_token = self._tokens.write(
                request, (last.create_time, last.delivery_id.bytes)
            )
        return response

    async def BatchCreateDeliveries(
        self, request: pb.BatchCreateDeliveriesRequest, context: object
    ) -> pb.BatchCreateDeliveriesResponse:
        deliveries = convert.new_deliveries(request.requests)
        now = self._clock.now()
        lease_ends = {channel: now + lane.lease for channel, lane in self._lanes.items()}
        granted = {
            channel: lane.reserve(sum(1 for one in deliveries if one.channel == channel))
            for channel, lane in self._lanes.items()
        }
        leased = _leased(deliveries, granted)
        new: set[UUID] = set()
        try:
            # Dying before this leaves nothing; after it, deliveries whose lease runs out.
            made, _ = await self._store.create(
                deliveries,
                now=now,
                leased=leased,
                lease_ends=[lease_ends[Channel(one.channel)] for one in deliveries],
                handed_over=[self._lanes[Channel(one.channel)].repeat_safe for one in deliveries],
            )
            # Asked also for those that were there before: the answer may have failed then.
            new = made - await self._erasures.drop_late(deliveries)
        finally:
            ours = [
                _claimed(one, now, lease_ends[Channel(one.channel)])
                for one, taken in zip(deliveries, leased, strict=True)
                if taken and one.delivery_id in new
            ]
            for channel, lane in self._lanes.items():
                lane.accept(
                    [one for one in ours if one.channel == channel], reserved=granted[channel]
                )
        if not all(leased):
            for lane in self._lanes.values():
                lane.notice()
        return pb.BatchCreateDeliveriesResponse(created_count=len(new))

    async def CountDeliveries(
        self, request: pb.CountDeliveriesRequest, context: object
    ) -> pb.CountDeliveriesResponse:
        broadcast = convert.delivery_id(request.broadcast, field="broadcast")
        return convert.counts(await self._store.count(broadcast))

    async def BatchCancelDeliveries(
        self, request: pb.BatchCancelDeliveriesRequest, context: object
    ) -> pb.BatchCancelDeliveriesResponse:
        items = convert.canceled_items(request.items)
        canceled = await self._store.cancel(items, now=self._clock.now())
        left = [item for item in items if item[0] not in canceled]
        # What counts as handed over may still wait for its turn, before a slow receiver.
        waiting = [
            delivery
            for lane in self._lanes.values()
            for delivery in lane.recall([item[0] for item in left])
        ]
        if waiting:
            # Dying before this sends them once their lease runs out: nobody was told otherwise.
            await self._store.take_back(waiting)
            canceled |= await self._store.cancel(left, now=self._clock.now())
        return pb.BatchCancelDeliveriesResponse(canceled=[item[0] in canceled for item in items])

    async def RedriveDeliveries(
        self, request: pb.RedriveDeliveriesRequest, context: object
    ) -> pb.RedriveDeliveriesResponse:
        workspace = workspace_of(request.parent, field="parent")
        keys = _names_in(workspace, request.names)
        movable = [State.FAILED, State.UNKNOWN] if request.include_unknown else [State.FAILED]
        now = self._clock.now()
        states, moved = await self._store.redrive(
            workspace, keys, movable=movable, now=now, expire_time=now + _REDRIVE_TTL
        )
        if not moved:
            raise _refusal(workspace, keys, states, movable)
        for lane in self._lanes.values():
            lane.notice()
        return pb.RedriveDeliveriesResponse(redriven_count=len(states))

    def _filter(self, request: pb.ListDeliveriesRequest) -> ListFilter:
        workspace = workspace_of(request.parent, field="parent")
        after: tuple[datetime, UUID] | None = None
        key = self._tokens.read(request)
        if key is not None:
            time, identifier = key
            assert isinstance(time, datetime)
            assert isinstance(identifier, bytes)
            after = time, UUID(bytes=identifier)
        return ListFilter(
            workspace=workspace,
            profile=_id_in(workspace, request.profile, "profiles"),
            campaign=_id_in(workspace, request.campaign, "campaigns"),
            states=[State(state) for state in request.states if state],
            after=after,
        )


def _id_in(workspace: str, name: str, collection: str) -> str:
    if not name:
        return ""
    theirs, identifier = parse_name(name, collection, field=collection.removesuffix("s"))
    if theirs != workspace:
        raise invalid_field(
            collection.removesuffix("s"), "must be of the parent's workspace", reason="workspace"
        )
    return identifier


def _names_in(workspace: str, names: Iterable[str]) -> list[UUID]:
    keys = []
    for index, name in enumerate(names):
        theirs, key = convert.delivery_name(name, field=f"names[{index}]")
        if theirs != workspace:
            raise invalid_field(
                f"names[{index}]", "must be of the parent's workspace", reason="workspace"
            )
        keys.append(key)
    return keys


def _leased(deliveries: Sequence[NewDelivery], granted: Mapping[Channel, int]) -> list[bool]:
    left: dict[int, int] = {int(channel): count for channel, count in granted.items()}
    leased = []
    for delivery in deliveries:
        leased.append(left[delivery.channel] > 0)
        left[delivery.channel] -= 1
    return leased


def _claimed(new: NewDelivery, now: datetime, lease_end: datetime) -> Claimed:
    return Claimed(
        delivery_id=new.delivery_id,
        workspace=new.workspace,
        profile=new.profile,
        campaign=new.campaign,
        template=new.template,
        channel=new.channel,
        fence=1,
        attempt_count=0,
        lease_end=lease_end,
        create_time=now,
        expire_time=new.expire_time,
        trace_id=new.trace_id,
        parent_span_id=new.parent_span_id,
        sampled=new.sampled,
        data=new.data,
    )


def _refusal(
    workspace: str, keys: Iterable[UUID], states: Mapping[UUID, State], movable: Sequence[State]
) -> Exception:
    for key in keys:
        name = format_name(workspace, "deliveries", str(key))
        state = states.get(key)
        if state is None:
            return convert.not_found(name, "delivery")
        if state not in movable:
            allowed = ", ".join(one.name for one in movable)
            return FailedPrecondition(
                ErrorReason.ERROR_REASON_STATE_FORBIDS,
                f"a delivery in {state.name} cannot be redriven, only in {allowed}",
                metadata={"resourceName": name, "state": state.name, "allowedStates": allowed},
            )
    message = "nothing forbids it"
    raise AssertionError(message)
