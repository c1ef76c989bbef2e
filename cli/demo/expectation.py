"""Works out from the input alone which messages should arrive. Shares nothing with the services.

It reads the campaigns as a person would, and plays one customer's events through, in their order:

* *Order confirmation*: one for every order, unless the customer cancels something before it is due.
* *Abandoned cart*: of what waits only the latest item counts; an order ends the wait, and so does
  an item after which the cart is worth no more than the threshold. A fuller cart has other words.
* *Big order*: a webhook for every order above its threshold, consent and caps or not.
* E-mail goes to who subscribed, and to each no more than the cap.

What the other campaigns should come to, `cli.demo.foresight` works out in the same way.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cli.demo.story import Happening, Person

CONFIRMATION = "order-confirmation"
CART = "abandoned-cart"
BIG = "big-order"
# Said of a fuller cart.
FULL = ", a second look"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the campaigns and the cap say."""

    cart_above: float
    full_above: float
    """A cart worth more is told of in other words."""
    cart_delay: timedelta
    confirmation_delay: timedelta
    big_above: float
    mails_a_person: int
    """The most anybody gets."""
    week: timedelta
    """How long news of connections gather."""
    likes_pause: timedelta
    likes_most: timedelta
    sale_above: float
    """At least; what is cheaper is not in the sale."""
    sale_delay: timedelta
    sale_spread: timedelta
    silence: timedelta
    silence_left: timedelta
    """How much of it is to come when the demonstration begins."""
    win_back_delay: timedelta


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """One message, told apart by what it says."""

    campaign: str
    to: str
    """E-mail address, or profile for a webhook."""
    says: str
    """Order or cart, and its value where the message names it; else the words themselves."""


@dataclass(frozen=True, slots=True, order=True)
class Stop:
    """Something that is not sent, or not yet, and why."""

    campaign: str
    profile: str
    gate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What should arrive."""

    certain: frozenset[Message]
    """Each of these, once."""
    capped: Mapping[str, frozenset[Message]]
    """By address: of these only as many as the cap takes. Which ones, the cap does not promise."""
    cap: int
    refused: Mapping[str, int]
    """Messages that should not go out, by the rule that stops them."""
    stops: frozenset[Stop] = frozenset()
    """Of campaigns that are looked at one by one: each of these, and no other."""

    @property
    def count(self) -> int:
        """How many arrive."""
        return len(self.certain) + self.cap * len(self.capped)


def expect(happenings: Sequence[Happening], people: Iterable[Person], rules: Rules) -> Expected:
    """Return what should arrive, given what happened, in its order."""
    by_profile: dict[str, list[Happening]] = defaultdict(list)
    for happening in happenings:
        by_profile[happening.profile].append(happening)
    known = {person.profile: person for person in people}
    certain: set[Message] = set()
    capped: dict[str, frozenset[Message]] = {}
    refused: Counter[str] = Counter()
    for profile, own in by_profile.items():
        certain |= set(_big_orders(own, rules))
        mails = [*_confirmations(own, rules), *_cart(own, rules)]
        person = known.get(profile)
        if person is None or person.consent != "subscribed":
            refused["consent"] += len(mails)
            continue
        addressed = frozenset(Message(mail.campaign, person.email, mail.says) for mail in mails)
        if len(addressed) > rules.mails_a_person:
            refused["frequency_cap"] += len(addressed) - rules.mails_a_person
            capped[person.email] = addressed
        else:
            certain |= addressed
    return Expected(
        certain=frozenset(certain), capped=capped, cap=rules.mails_a_person, refused=refused
    )


def first_due(happenings: Sequence[Happening], rules: Rules) -> datetime:
    """Return when the first message that waits may go out: by then all must be known."""
    return min(one.occur_time for one in happenings) + min(
        rules.cart_delay, rules.confirmation_delay
    )


def last_due(happenings: Sequence[Happening], rules: Rules) -> datetime:
    """Return when the last message that waits is due."""
    return max(one.occur_time for one in happenings) + max(
        rules.cart_delay, rules.confirmation_delay
    )


def _big_orders(own: Sequence[Happening], rules: Rules) -> Iterable[Message]:
    for one in own:
        if one.type == "order_placed" and one.properties["value"] > rules.big_above:
            yield Message(BIG, one.profile, f"{one.properties['order_id']}")


def _confirmations(own: Sequence[Happening], rules: Rules) -> Iterable[Message]:
    cancelled = [one.occur_time for one in own if one.type == "order_cancelled"]
    for one in own:
        if one.type != "order_placed":
            continue
        due = one.occur_time + rules.confirmation_delay
        if not any(one.occur_time < when < due for when in cancelled):
            yield Message(CONFIRMATION, one.profile, f"{one.properties['order_id']}")


def _cart(own: Sequence[Happening], rules: Rules) -> Iterable[Message]:
    waiting: Happening | None = None
    for one in own:
        if waiting is not None and one.occur_time >= waiting.occur_time + rules.cart_delay:
            yield _cart_message(waiting, rules)
            waiting = None
        if one.type == "item_added_to_cart":
            waiting = one if one.properties["cart_value"] > rules.cart_above else None
        elif one.type == "order_placed":
            waiting = None
    if waiting is not None:
        yield _cart_message(waiting, rules)


def _cart_message(item: Happening, rules: Rules) -> Message:
    value = item.properties["cart_value"]
    says = f"{item.properties['order_id']} {value:.2f}"
    return Message(CART, item.profile, f"{says}{FULL}" if value > rules.full_above else says)
