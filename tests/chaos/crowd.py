"""Who hears the one message to many, and what its account must come to. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.cast import Promise

CROWD = "crowd"
NEWS = "news"
LAUNCH = "launch"
"""What the message is about, in the place of an event."""

# Of so many one wants no news: the account must tell her from those who were sent to.
_ONE_REFUSES_IN = 20

_GATE = "filter"


@dataclass(frozen=True, slots=True)
class Crowd:
    """Everybody of the workspace, of whom so many hear the news."""

    size: int

    @property
    def told(self) -> list[str]:
        """Who hears it."""
        return [f"c{number}" for number in range(self.size)]

    @property
    def deaf(self) -> list[str]:
        """Who is gone through and refused."""
        return [f"d{number}" for number in range(self.size // _ONE_REFUSES_IN)]

    def promises(self) -> Iterator[Promise]:
        """Yield that everybody hears it once, and who wants no news never."""
        for names, count in ((self.told, 1), (self.deaf, 0)):
            for name in names:
                yield Promise(
                    workspace=CROWD, campaign=NEWS, events=(LAUNCH,), recipient=name, count=count
                )

    def account(self) -> "Account":
        """Return what the account closes with."""
        deaf = len(self.deaf)
        suppressed = {_GATE: deaf} if deaf else {}
        return Account(self.size + deaf, self.size, suppressed, {}, 0)


class Account(NamedTuple):
    """Where everybody is."""

    audience: int
    sent: int
    suppressed: Mapping[str, int]
    failed: Mapping[str, int]
    pending: int

    @property
    def balances(self) -> bool:
        """Whether nobody is missing, and nobody in two places."""
        over = self.sent + sum(self.suppressed.values()) + sum(self.failed.values())
        return self.pending >= 0 and self.audience == over + self.pending


_NOBODY = Account(0, 0, {}, {}, 0)


@dataclass(slots=True)
class Ledger:
    """The account of the news as it was seen, look by look."""

    crowd: Crowd
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    """Looks at which it could not be true."""
    latest: Account = _NOBODY
    ended: bool = False

    def note(self, seen: Account, *, arrived: int, ended: bool) -> None:
        """Take a look down; `arrived` so many different messages have, counted after it."""
        self.looks += 1
        reasons = {
            "does not balance": not seen.balances,
            "sent more than arrived": seen.sent > arrived,
            "forgot people": seen.audience < self.latest.audience,
            "took a sending back": seen.sent < self.latest.sent,
            "changed after its end": self.ended and (not ended or seen != self.latest),
            "closed with something else": ended and seen != self.crowd.account(),
        }
        what = ", ".join(reason for reason, holds in reasons.items() if holds)
        if what:
            self.wrong.append(f"look {self.looks}: {what}: {seen}, arrived={arrived}")
        self.latest, self.ended = seen, ended

    @property
    def faults(self) -> int:
        """Looks that were wrong, and one more if the account never closed."""
        return len(self.wrong) + (not self.ended)
