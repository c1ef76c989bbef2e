"""What delivery decides: what follows from an attempt, and where a webhook may go."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from services.delivery.model import (
    DEFAULT_PORTS,
    AllowedHost,
    Expired,
    GiveUp,
    Outcome,
    RetryAt,
    RetryPolicy,
    Sent,
    State,
    Target,
    Unknown,
    Verdict,
)

_PORT_MAX = 65_535
# Behind it may stand any IPv4 address, private ones included.
_NAT64 = IPv6Network("64:ff9b::/96")
# Request Timeout, Too Early, Too Many Requests: the client errors that pass.
_HTTP_LATER = frozenset({408, 425, 429})


def settle(
    now: datetime,
    outcome: Outcome,
    *,
    attempt: int,
    policy: RetryPolicy,
    repeat_safe: bool,
    jitter: float,
    expire_time: datetime,
    retry_after: timedelta | None = None,
) -> Verdict:
    """Return what follows from the `attempt`-th try, counted from 1.

    What was handed over without an answer is repeated only where the provider
    drops repeats. A retry is never earlier than the provider asked for and
    always before the delivery expires; where that is impossible it has expired.

    Args:
        now: When the outcome was known.
        outcome: What the provider said.
        attempt: How many tries there were, this one included.
        policy: How often and how long to try.
        repeat_safe: Whether the provider drops repeats of a key.
        jitter: From 0 to 1; spreads retries that began together.
        expire_time: When the delivery is worth nothing any more.
        retry_after: How long the provider asked to be left alone.
    """
    match outcome:
        case Outcome.ACCEPTED:
            return Sent()
        case Outcome.REFUSED:
            return GiveUp("provider_refused")
        case Outcome.NO_ANSWER if not repeat_safe:
            return Unknown()
        case Outcome.NO_ANSWER | Outcome.TRY_LATER:
            if attempt >= policy.attempts_max:
                return GiveUp("attempts_exhausted")
            delay = backoff(attempt, policy=policy, jitter=jitter)
            return _retry(now, max(delay, retry_after or delay), expire_time, asked=retry_after)


def postpone(
    now: datetime, *, tries: int, policy: RetryPolicy, jitter: float, expire_time: datetime
) -> RetryAt | Expired:
    """Return when to take up a delivery again that could not even be tried.

    Not bounded in number: it is our own dependency that is away, not the
    provider that refuses.
    """
    return _retry(now, backoff(tries, policy=policy, jitter=jitter), expire_time, asked=None)


def backoff(attempt: int, *, policy: RetryPolicy, jitter: float) -> timedelta:
    """Return the pause after the `attempt`-th try: doubling, capped, half of it by lot."""
    # The exponent is capped too: 2**1000 is no timedelta.
    doubled = policy.first_delay * (1 << min(attempt - 1, 30))
    return min(doubled, policy.longest_delay) * (0.5 + jitter / 2)


def _retry(
    now: datetime, delay: timedelta, expire_time: datetime, *, asked: timedelta | None
) -> RetryAt | Expired:
    left = expire_time - now
    if delay < left:
        return RetryAt(now + delay)
    # Our own pause would outlive the message: one more try in what is left. What the
    # provider asked for is not ours to shorten.
    earlier = left / 2
    if earlier < timedelta(seconds=1) or (asked is not None and earlier < asked):
        return Expired()
    return RetryAt(now + earlier)


def http_outcome(status: int) -> Outcome:
    """Return what an HTTP status says of the message.

    A redirect is a refusal: following it would leave the allow-list.
    """
    if 200 <= status < 300:  # noqa: PLR2004 — the classes of HTTP
        return Outcome.ACCEPTED
    if status >= 500 or status in _HTTP_LATER:  # noqa: PLR2004
        return Outcome.TRY_LATER
    return Outcome.REFUSED


def smtp_outcome(code: int) -> Outcome:
    """Return what an SMTP reply says of the message."""
    if 200 <= code < 300:  # noqa: PLR2004 — the classes of SMTP
        return Outcome.ACCEPTED
    return Outcome.REFUSED if 500 <= code < 600 else Outcome.TRY_LATER  # noqa: PLR2004


def lapsed(*, handed_over: bool, repeat_safe: bool) -> State:
    """Return what a delivery becomes whose worker fell silent.

    It goes back to the queue unless a provider may have it that does not drop
    repeats: then nobody can tell.
    """
    return State.UNKNOWN if handed_over and not repeat_safe else State.PENDING


def parse_allowed(entry: str) -> AllowedHost:
    """Read `host`, `host:port`, `*.suffix` or `*`.

    Raises:
        ValueError: It is none of these.
    """
    host, port = entry.strip().lower(), None
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port_text = rest.removeprefix(":")
    else:
        host, _, port_text = host.partition(":")
    if port_text:
        if not port_text.isdecimal() or not 0 < int(port_text) <= _PORT_MAX:
            message = f"expected host, host:port, *.suffix or *, got {entry!r}"
            raise ValueError(message)
        port = int(port_text)
    plain = host.removeprefix("*.") if host != "*" else "any"
    if not plain or "*" in plain or "/" in plain or " " in plain:
        message = f"expected host, host:port, *.suffix or *, got {entry!r}"
        raise ValueError(message)
    return AllowedHost(host.rstrip("."), port)


def parse_target(url: str) -> Target:
    """Read an absolute http or https URL without user, password and fragment.

    Raises:
        ValueError: It is something else; the text says what would be right.
    """
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in url):  # noqa: PLR2004
        message = "must be printable ASCII without spaces"
        raise ValueError(message)
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        message = "must begin with http:// or https://"
        raise ValueError(message)
    if parts.username is not None or parts.password is not None or parts.fragment:
        message = "must not hold a user, a password or a fragment"
        raise ValueError(message)
    host = (parts.hostname or "").rstrip(".")
    if not host or "\\" in url or "%" in host:
        message = "must name a host"
        raise ValueError(message)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        message = "must name a port from 1 to 65535, or none"
        raise ValueError(message)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], path)


def host_allowed(target: Target, allowed: Sequence[AllowedHost]) -> bool:
    """Say whether the allow-list has the target's host."""
    return any(_matches(target, entry) for entry in allowed)


def address_allowed(target: Target, address: str, allowed: Sequence[AllowedHost]) -> bool:
    """Say whether the target may be reached at this address.

    An entry that names the host, or its suffix, vouches for wherever it leads;
    `*` vouches for public addresses only, so that no name can be pointed at
    what stands behind our own firewall.
    """
    if any(entry.host != "*" and _matches(target, entry) for entry in allowed):
        return True
    return host_allowed(target, allowed) and _public(ip_address(address.partition("%")[0]))


def _public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return False
        # An IPv4 address in other clothes is what it is.
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _public(inner)
    return address.is_global and not address.is_multicast


def _matches(target: Target, entry: AllowedHost) -> bool:
    if entry.port is not None and entry.port != target.port:
        return False
    if entry.host == "*":
        return True
    if entry.host.startswith("*."):
        return target.host.endswith(entry.host[1:])
    return target.host == entry.host
