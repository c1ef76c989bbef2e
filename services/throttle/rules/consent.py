"""Whether a person agreed."""

from collections.abc import Iterable

from services.throttle.model import PERSONAL, Channel, Consent, Gate, Subscription, Suppress


def consent_verdict(channel: Channel, consent: Consent) -> Suppress | None:
    """Return why a send may not go, None when consent allows it.

    Consent outranks everything, urgency too: no critical send passes it, and a
    send that is refused here takes no place under any cap.
    """
    match consent:
        case Consent.SUBSCRIBED:
            return None
        case Consent.UNSUBSCRIBED:
            return _UNSUBSCRIBED[channel]
        case Consent.UNDECIDED:
            return _UNDECIDED[channel] if channel in PERSONAL else None


def all_channels(
    workspace: str, profile_id: str, decided: Iterable[Subscription]
) -> list[Subscription]:
    """Return one subscription for each channel; undecided where nothing was decided.

    Of what a person said under several ids the most restrictive holds.
    """
    known: dict[Channel, Subscription] = {}
    for one in decided:
        before = known.get(one.channel)
        known[one.channel] = one if before is None else _stricter(before, one)
    return [
        known.get(channel)
        or Subscription(
            workspace=workspace,
            profile_id=profile_id,
            channel=channel,
            consent=Consent.UNDECIDED,
        )
        for channel in Channel
    ]


def _stricter(one: Subscription, other: Subscription) -> Subscription:
    """Return what holds of two: a no, else a yes, else nothing; of two alike the later."""
    return max(one, other, key=lambda said: (_STRICTNESS.index(said.consent), _time(said)))


def _time(said: Subscription) -> float:
    return said.update_time.timestamp() if said.update_time else 0.0


_STRICTNESS = (Consent.UNDECIDED, Consent.SUBSCRIBED, Consent.UNSUBSCRIBED)
_UNSUBSCRIBED = {
    channel: Suppress(Gate.CONSENT, f"unsubscribed from {channel.name.lower()}")
    for channel in Channel
}
_UNDECIDED = {
    channel: Suppress(
        Gate.CONSENT, f"undecided about {channel.name.lower()}, and it reaches a person"
    )
    for channel in PERSONAL
}
