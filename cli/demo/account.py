"""Counts what arrived at the sinks, and holds it against what should have."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cli.demo.expectation import BIG, CART, CONFIRMATION, Expected, Message
from stack.sinks.store import Mail, Webhook

_CART = re.compile(r"^Cart (\S+), worth (-?\d+\.\d\d) GBP", re.MULTILINE)
_ORDER = re.compile(r"Your order (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How it came out."""

    messages: int
    """Different messages that arrived."""
    expected: int
    lost: tuple[Message, ...]
    """Should have arrived and did not."""
    duplicate: int
    """Arrivals beyond the first of the same message."""
    unexpected: tuple[Message, ...]
    """Arrived and should not have."""

    @property
    def good(self) -> bool:
        """Whether everything arrived once and nothing else did."""
        return (
            not self.lost
            and not self.duplicate
            and not self.unexpected
            and self.messages == self.expected
        )


def read_mail(mail: Mail) -> Message:
    """Return which message a mail is, by what it says."""
    to = mail.recipients[0]
    if match := _ORDER.fullmatch(mail.subject):
        return Message(CONFIRMATION, to, match[1])
    if match := _CART.search(mail.body):
        return Message(CART, to, f"{match[1]} {match[2]}")
    return Message("unknown", to, mail.subject)


def read_webhook(webhook: Webhook) -> Message:
    """Return which message a webhook is, by what it says."""
    try:
        body = json.loads(webhook.body)
        return Message(BIG, body["customer"], body["order_id"])
    except (ValueError, KeyError, TypeError):
        return Message("unknown", webhook.path, webhook.body)


def settle(arrived: Iterable[Message], expected: Expected) -> Account:
    """Hold what arrived against what should have.

    Of capped messages any may arrive, as many as the cap takes: too few are lost, too many are
    unexpected.
    """
    counts = Counter(arrived)
    distinct = set(counts)
    lost = set(expected.certain - distinct)
    unexpected = distinct - expected.certain
    for candidates in expected.capped.values():
        present = sorted(candidates & distinct)
        unexpected -= set(present[: expected.cap])
        lost |= set(sorted(candidates - distinct)[: max(expected.cap - len(present), 0)])
    return Account(
        messages=len(distinct),
        expected=expected.count,
        lost=tuple(sorted(lost)),
        duplicate=sum(counts.values()) - len(distinct),
        unexpected=tuple(sorted(unexpected)),
    )
