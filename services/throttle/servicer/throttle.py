"""Reserves and settles."""

from collections import Counter
from collections.abc import Mapping, Sequence

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.throttle.v1 import throttle_service_pb2 as pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as rpc

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import Aborted
from services.throttle import convert
from services.throttle.model import (
    Allow,
    Consent,
    Defer,
    FrequencyCap,
    Limit,
    Micros,
    Send,
    Suppress,
    Verdict,
)
from services.throttle.rules import Limits, cap_verdict, consent_verdict, micros, used
from services.throttle.store import Caps, Identities, Moved, Places, Subscriptions

# A person is united a few times in her life.
_ATTEMPTS_MAX = 5


class ThrottleServicer(rpc.ThrottleServiceServicer):
    def __init__(
        self,
        subscriptions: Subscriptions,
        identities: Identities,
        caps: Caps,
        places: Places,
        *,
        clock: Clock,
    ) -> None:
        self._subscriptions = subscriptions
        self._identities = identities
        self._caps = caps
        self._places = places
        self._clock = clock
        self._limits = Limits()

    async def ReserveSends(
        self, request: pb.ReserveSendsRequest, context: object
    ) -> pb.ReserveSendsResponse:
        sends = convert.sends(request)
        for _ in range(_ATTEMPTS_MAX):
            try:
                verdicts = await self._verdicts(sends)
            except Moved:
                # Somebody was united or parted in the middle. Who has a place keeps it.
                continue
            _count(verdicts)
            return convert.reserved(verdicts)
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "people are united faster than judged")

    async def SettleSends(
        self, request: pb.SettleSendsRequest, context: object
    ) -> pb.SettleSendsResponse:
        # Under the id that was named first: hardly anybody goes by another, and who was parted
        # since keeps her own.
        left = await self._places.settle(convert.settlements(request))
        moved = await self._identities.of({(one.workspace, one.profile_id) for one in left})
        elsewhere = [
            one._replace(profile_id=moved[one.workspace, one.profile_id])
            for one in left
            if (one.workspace, one.profile_id) in moved
        ]
        if elsewhere:
            await self._places.settle(elsewhere)
        return pb.SettleSendsResponse()

    async def ExplainSend(
        self, request: pb.ExplainSendRequest, context: object
    ) -> pb.ExplainSendResponse:
        asked = convert.explained(request, self._clock.now())
        someone = (asked.workspace, asked.profile_id)
        moved = await self._identities.of([someone])
        places = await self._places.of(asked.workspace, moved.get(someone, asked.profile_id))
        caps = await self._caps.current({asked.workspace})
        limits = self._limits.of(
            caps[asked.workspace],
            asked.channel,
            asked.time_zone,
            critical=False,
            now_us=asked.time_us,
        )
        return convert.explanation(
            asked.workspace, [(limit, used(limit, places, asked.time_us)) for limit in limits]
        )

    async def _verdicts(self, sends: Sequence[Send]) -> list[Verdict]:
        consents, persons = await self._subscriptions.consents(sends)
        caps = await self._caps.current({send.workspace for send in sends})
        if persons:
            sends = [
                send._replace(profile_id=persons.get(place, send.profile_id))
                for place, send in enumerate(sends)
            ]
        # Asked last: what is reserved is reserved now, not when the question came.
        now_us = micros(self._clock.now())
        return await self._judge(sends, consents, caps, now_us)

    async def _judge(
        self,
        sends: Sequence[Send],
        consents: Sequence[Consent],
        caps: Mapping[str, tuple[FrequencyCap, ...]],
        now_us: Micros,
    ) -> list[Verdict]:
        verdicts: list[Verdict] = [
            consent_verdict(send.channel, consent) or _ALLOW
            for send, consent in zip(sends, consents, strict=True)
        ]
        agreed = [index for index, verdict in enumerate(verdicts) if verdict is _ALLOW]
        if agreed:
            wanted = [sends[index] for index in agreed]
            limits = self._limits_of(wanted, caps, now_us)
            breaches = await self._places.reserve(wanted, limits, now_us)
            for index, found in zip(agreed, breaches, strict=True):
                if found:
                    verdicts[index] = cap_verdict(found)
        return verdicts

    def _limits_of(
        self,
        sends: Sequence[Send],
        caps: Mapping[str, tuple[FrequencyCap, ...]],
        now_us: Micros,
    ) -> list[tuple[Limit, ...]]:
        known: dict[tuple[object, ...], tuple[Limit, ...]] = {}
        found = []
        for send in sends:
            alike = (send.workspace, send.channel, send.time_zone, send.critical)
            limits = known.get(alike)
            if limits is None:
                limits = known[alike] = self._limits.of(
                    caps[send.workspace],
                    send.channel,
                    send.time_zone,
                    critical=send.critical,
                    now_us=now_us,
                )
            found.append(limits)
        return found


_ALLOW = Allow()


def _count(verdicts: Sequence[Verdict]) -> None:
    for (verdict, rule), number in Counter(map(_label, verdicts)).items():
        metrics.VERDICTS.labels(verdict=verdict, rule=rule).inc(number)


def _label(verdict: Verdict) -> tuple[str, str]:
    match verdict:
        case Allow():
            return "allow", ""
        case Defer(_, gate, _):
            return "defer", gate.value
        case Suppress(gate, _):
            return "suppress", gate.value
