"""Consent and frequency caps in memory: what the rules of throttle say of a send."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from services.throttle.model import (
    Allow,
    Channel,
    Consent,
    Defer,
    FrequencyCap,
    Outcome,
    Place,
    Send,
    Subscription,
    Suppress,
)
from services.throttle.rules import (
    Limits,
    all_channels,
    cap_verdict,
    consent_verdict,
    micros,
    place_for,
    reserve,
    settle,
)
from services.trigger.model import Allowed, Deferred, Suppressed, ThrottleVerdict


class Gatekeeper:
    """Says who may be sent what, and remembers what went out."""

    def __init__(self, workspace: str) -> None:
        """Begin without caps, nobody having said anything."""
        self._workspace = workspace
        self._caps: dict[str, FrequencyCap] = {}
        self._limits = Limits()
        self._said: dict[tuple[str, Channel], Subscription] = {}
        self._places: dict[str, dict[bytes, Place]] = defaultdict(dict)

    def keep(self, cap: FrequencyCap) -> None:
        """Hold to a cap from now on."""
        self._caps[cap.cap_id] = cap

    def say(self, profile: str, channel: Channel, consent: Consent, now: datetime) -> None:
        """Remember what somebody said about a channel."""
        self._said[profile, channel] = Subscription(
            workspace=self._workspace,
            profile_id=profile,
            channel=channel,
            consent=consent,
            update_time=now,
        )

    def reserve(self, send: Send, members: Iterable[str], now: datetime) -> ThrottleVerdict:
        """Ask for one send of a person who has these ids."""
        said = [
            self._said[one, send.channel] for one in members if (one, send.channel) in self._said
        ]
        consents = {
            one.channel: one.consent for one in all_channels(self._workspace, send.profile_id, said)
        }
        refused = consent_verdict(send.channel, consents[send.channel])
        if refused is not None:
            return Suppressed(refused.gate.value, refused.detail)
        now_us = micros(now)
        limits = self._limits.of(
            self._caps.values(),
            send.channel,
            send.time_zone,
            critical=send.critical,
            now_us=now_us,
        )
        breaches, kept = reserve(
            self._places[send.profile_id], place_for(send, now_us), limits, now_us
        )
        self._places[send.profile_id] = kept
        match cap_verdict(breaches):
            case Allow():
                return Allowed()
            case Defer(until, gate, detail):
                return Deferred(until, gate.value, detail)
            case Suppress(gate, detail):
                return Suppressed(gate.value, detail)

    def commit(self, profile: str, delivery: UUID) -> None:
        """Hear that a provider has accepted a message."""
        self._settle(profile, delivery, Outcome.COMMITTED)

    def release(self, profile: str, delivery: UUID) -> None:
        """Hear that a message will not go out."""
        self._settle(profile, delivery, Outcome.RELEASED)

    def unite(self, profile: str, members: Iterable[str]) -> None:
        """Count what was sent to any of these ids for the person who goes by `profile`."""
        for member in members:
            if member != profile:
                self._places[profile] |= self._places.pop(member, {})

    def _settle(self, profile: str, delivery: UUID, outcome: Outcome) -> None:
        self._places[profile] = settle(self._places[profile], [(delivery.bytes, outcome)])
