"""Who does what in the crash test, and which messages must follow: reckoned from the input alone.

Knows the campaigns by their meaning and shares no code with the services that carry them out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

MAIN = "main"
CAPPED = "capped"
GATHERING = ("gathered", "gathered-apart")
"""Campaigns of MAIN that gather events."""

_OWNERS = 8
WORKSPACES = (MAIN, CAPPED)

DELAY = 6.0
"""Seconds that the campaigns with a delay wait; long enough to be cut by several kills."""

VALUE_OVER = 100.0
# Windows in which events are gathered, all shorter than `DELAY`.
FIXED = 3.0
PAUSE = 1.0
MOST = 5.0

CAP = 2
"""Messages a person of the workspace CAPPED gets at most."""


class Act(NamedTuple):
    """Something that somebody does."""

    workspace: str
    event_id: str
    type: str
    profile: str
    properties: dict[str, object]
    ago: float | None = 0.0
    """How many seconds before it is sent it occurred; None: the event says no time."""


class Cue(NamedTuple):
    """Acts that are sent in one batch, `after` so many seconds from the story's beginning."""

    after: float
    acts: tuple[Act, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Of the messages that these events may lead to, `count` go out."""

    workspace: str
    campaign: str
    events: tuple[str, ...]
    """Ids of the trigger events that count as one of them."""
    recipient: str
    count: int
    stopped_by: str = ""
    """An exception: known before the message is due it stops it; later it may be too late."""


@dataclass(frozen=True, slots=True)
class Story:
    """What one person does and what must come of it."""

    cues: tuple[Cue, ...]
    promises: tuple[Promise, ...]


@dataclass(slots=True)
class Cast:
    """Makes stories up, the same ones from the same seed."""

    random: Random
    _people: int = 0
    _events: int = 0
    _names: list[str] = field(default_factory=list)

    def story(self) -> Story:
        """Return the next one, of a person nobody met before."""
        self._people += 1
        name = f"p{self._people}"
        kinds: Sequence[Callable[[str], Story]] = (
            self._buyer,
            self._buyer,
            self._member,
            self._joiner,
            self._leaver,
            self._payer,
            self._payer_at_once,
            self._payer_of_another_order,
            self._payer_ahead,
            self._changer,
            self._commenter,
            self._liker,
            self._liker,
            self._regretful,
            self._alerted,
            self._passer_by,
            self._passer_by,
        )
        made = self.random.choice(kinds)(name)
        self._names.append(name)
        return made

    def _buyer(self, name: str) -> Story:
        """Every order is thanked for."""
        orders = [self._order(name) for _ in range(self.random.randint(1, 4))]
        promises = tuple(_one("thanks", order) for order in orders)
        return Story(tuple(self._spread(orders)), promises)

    def _member(self, name: str) -> Story:
        """Large orders of gold members get a gift; who becomes one counts from that event on."""
        before, small, large = self._order(name), self._order(name, 20.0), self._order(name, 500.0)
        joined = self._act(MAIN, "profile_updated", name, tier="gold")
        batch = Cue(0.0, (before, joined, small, large))
        thanks = tuple(_one("thanks", order) for order in (before, small, large))
        return Story((batch,), (*thanks, _one("gift", large), _none("gift", before, small)))

    def _joiner(self, name: str) -> Story:
        """Is welcomed once, however often she signs up."""
        acts = [self._act(MAIN, "signed_up", name) for _ in range(3)]
        return Story(tuple(self._spread(acts)), (_some("welcome", 1, *acts),))

    def _leaver(self, name: str) -> Story:
        """Left a cart behind, and hears of it."""
        cart = self._cart(name, "a")
        return Story((Cue(0.0, (cart,)),), (_one("cart", cart), _one("cart-order", cart)))

    def _payer(self, name: str) -> Story:
        """Pays while the message waits, often in its last moment."""
        cart, paid = self._cart(name, "a"), self._act(MAIN, "order_paid", name, order="a")
        after = self.random.choice((self.random.uniform(0.2, DELAY), DELAY - 0.2))
        cues = (Cue(0.0, (cart,)), Cue(after, (paid,)))
        return Story(cues, (_stopped("cart", cart, paid), _stopped("cart-order", cart, paid)))

    def _payer_at_once(self, name: str) -> Story:
        """Pays in the batch of the cart."""
        cart = self._cart(name, "a")._replace(ago=0.5)
        paid = self._act(MAIN, "order_paid", name, order="a")
        return Story((Cue(0.0, (cart, paid)),), (_none("cart", cart), _none("cart-order", cart)))

    def _payer_of_another_order(self, name: str) -> Story:
        """Pays something else: who asks for the order's number still reminds her."""
        cart = self._cart(name, "a")._replace(ago=0.5)
        paid = self._act(MAIN, "order_paid", name, order="b")
        return Story((Cue(0.0, (cart, paid)),), (_none("cart", cart), _one("cart-order", cart)))

    def _payer_ahead(self, name: str) -> Story:
        """Her payment is told before the cart it came after: known by type and time only."""
        paid = self._act(MAIN, "order_paid", name, order="a")
        cart = self._cart(name, "a")._replace(ago=0.5)
        return Story((Cue(0.0, (paid, cart)),), (_none("cart", cart), _one("cart-order", cart)))

    def _changer(self, name: str) -> Story:
        """Changes her cart: only the latest change counts."""
        times = self.random.randint(2, 4)
        acts = [
            self._act(MAIN, "cart_changed", name)._replace(ago=(times - number) * 0.1)
            for number in range(times)
        ]
        promises = (_one("latest", acts[-1]), _none("latest", *acts[:-1]))
        return Story((Cue(0.0, tuple(acts)),), promises)

    def _commenter(self, name: str) -> Story:
        """Comments on somebody's review, who is told; on her own, and nobody is."""
        owner = self.random.choice(self._names) if self._names else "p0"
        told = self._act(MAIN, "comment_posted", name, review_owner=owner)
        own = self._act(MAIN, "comment_posted", name, review_owner=name)
        promise = _one("comment", told, recipient=owner)
        return Story(tuple(self._spread([told, own])), (promise, _none("comment", own)))

    def _liker(self, name: str) -> Story:
        """Likes photos, and every like is told in one message of each kind of window."""
        owner = self._owner()
        likes = [
            self._act(MAIN, "photo_liked", name, photo_owner=owner, photo=self._photo())
            for _ in range(self.random.randint(1, 6))
        ]
        promises = (_one(kind, like, recipient=owner) for like in likes for kind in GATHERING)
        return Story(tuple(self._spread(likes)), tuple(promises))

    def _regretful(self, name: str) -> Story:
        """Likes a photo and takes it back at once; her like of another one stays."""
        seen = {"photo_owner": self._owner()}
        kept = self._act(MAIN, "photo_liked", name, photo="sea", **seen)._replace(ago=0.5)
        back = self._act(MAIN, "photo_liked", name, photo="hill", **seen)._replace(ago=0.5)
        undone = self._act(MAIN, "photo_unliked", name, photo="hill", **seen)
        promises = [_one(kind, kept, recipient=seen["photo_owner"]) for kind in GATHERING]
        promises += [_some(kind, 0, back, recipient=seen["photo_owner"]) for kind in GATHERING]
        acts = tuple(self.random.sample((kept, back, undone), 3))
        return Story((Cue(0.0, acts),), tuple(promises))

    def _owner(self) -> str:
        # Few, so that many people's likes meet in one window.
        return self.random.choice(self._names[-_OWNERS:]) if self._names else "p0"

    def _photo(self) -> str:
        return self.random.choice(("sea", "hill"))

    def _alerted(self, name: str) -> Story:
        """Would get more messages than her cap lets through."""
        acts = [self._act(CAPPED, "alert_raised", name) for _ in range(self.random.randint(1, 6))]
        promise = _some("alert", min(CAP, len(acts)), *acts)
        return Story(tuple(self._spread(acts)), (promise,))

    def _passer_by(self, name: str) -> Story:
        """Does what no campaign asks for, some of it without saying when."""
        acts = [
            self._act(MAIN, "page_viewed", name)._replace(ago=self.random.choice((0.0, None)))
            for _ in range(self.random.randint(1, 5))
        ]
        return Story(tuple(self._spread(acts)), ())

    def _spread(self, acts: Sequence[Act]) -> Iterator[Cue]:
        """Send acts one after another, some together, some seconds apart."""
        after = 0.0
        for act in acts:
            yield Cue(after, (act,))
            after += self.random.choice((0.0, 0.05, 1.0, 3.0))

    def _order(self, name: str, value: float | None = None) -> Act:
        amount = self.random.choice((20.0, 100.0, 500.0)) if value is None else value
        return self._act(MAIN, "order_placed", name, value=amount)

    def _cart(self, name: str, order: str) -> Act:
        return self._act(MAIN, "cart_filled", name, order=order)

    def _act(self, workspace: str, kind: str, name: str, **properties: object) -> Act:
        self._events += 1
        return Act(workspace, f"e{self._events}", kind, name, properties)


def _some(campaign: str, count: int, *acts: Act, recipient: str = "") -> Promise:
    return Promise(
        workspace=acts[0].workspace,
        campaign=campaign,
        events=tuple(act.event_id for act in acts),
        recipient=recipient or acts[0].profile,
        count=count,
    )


def _one(campaign: str, act: Act, *, recipient: str = "") -> Promise:
    return _some(campaign, 1, act, recipient=recipient)


def _none(campaign: str, *acts: Act) -> Promise:
    return _some(campaign, 0, *acts)


def _stopped(campaign: str, act: Act, exception: Act) -> Promise:
    return Promise(
        workspace=act.workspace,
        campaign=campaign,
        events=(act.event_id,),
        recipient=act.profile,
        count=0,
        stopped_by=exception.event_id,
    )
