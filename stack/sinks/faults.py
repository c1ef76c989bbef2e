"""How a sink misbehaves when told to."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

import msgspec


class Kind(StrEnum):
    """What goes wrong."""

    REFUSE = "refuse"
    """Answer with `status`: 429, 500, or 451 and 550 for a mail. Nothing counts as accepted."""
    STALL = "stall"
    """Accept, and answer only after `seconds`."""
    DROP = "drop"
    """Accept, then close the connection without an answer: the lost reply."""
    CUT = "cut"
    """Close the connection without accepting."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to misbehave, and towards whom.

    Everything that is given must match; a fault with nothing given strikes always.
    """

    kind: Kind
    status: int = 500
    retry_after: float | None = None
    """Seconds for a Retry-After header, with a refusal."""
    seconds: float = 30.0
    """How long a stall lasts, if nobody tells the sink to behave otherwise before."""
    rate: float = 1.0
    """Share of the matching requests that are struck."""
    target: str = ""
    """Beginning of the path, or a recipient."""
    header: str = ""
    """A header that must be there (webhooks), in any case."""
    times: int | None = None
    """How often it strikes in all; always, if absent."""


@dataclass(slots=True)
class Faults:
    """The faults a sink has now. The first that matches strikes."""

    rules: Sequence[Fault] = ()
    random: Random = field(default_factory=lambda: Random(7))
    _struck: dict[int, int] = field(default_factory=dict)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, rules: Sequence[Fault]) -> None:
        """Misbehave like this from now on; what stalls goes on."""
        self.rules = rules
        self._struck = {}
        self._over.set()
        self._over = asyncio.Event()

    async def stall(self, fault: Fault) -> None:
        """Keep somebody waiting until the fault's time or the fault itself is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(fault.seconds):
                await self._over.wait()

    def strike(self, targets: Sequence[str], headers: Mapping[str, str]) -> Fault | None:
        """Return the fault that befalls a request, if one does."""
        for number, rule in enumerate(self.rules):
            if not any(target.startswith(rule.target) for target in targets):
                continue
            if rule.header and rule.header not in headers:
                continue
            struck = self._struck.get(number, 0)
            if rule.times is not None and struck >= rule.times:
                continue
            if rule.rate < 1 and self.random.random() >= rule.rate:
                continue
            self._struck[number] = struck + 1
            return rule
        return None


def parse(text: bytes | str) -> list[Fault]:
    """Read faults from a JSON list, refusing what no fault has.

    Raises:
        msgspec.ValidationError: Something in it is no fault; the text names the place.
    """
    return msgspec.json.decode(text, type=list[Fault])
