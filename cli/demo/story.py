"""What the demonstration plays: December 2010's orders, squeezed into seconds, and their people."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

# One invoice in so many never reaches the checkout: that is how carts come to be abandoned.
WITHHELD_EVERY = 4

_NAMES = ("Ana", "Ben", "Chidi", "Dana", "Emil", "Fay", "Goran", "Hana", "Iris", "Jonas")
_KNOWN = "c-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something somebody did."""

    event_id: str
    type: str
    profile: str
    occur_time: datetime
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What is made up about a customer; the data has neither names nor addresses."""

    profile: str
    email: str
    first_name: str
    """'' for some, so that defaults show."""
    consent: str
    """`subscribed`, `unsubscribed`, or `undecided`: never asked."""
    time_zone: str = ""
    """'': nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that is played."""

    happenings: Sequence[Happening]
    people: Sequence[Person]
    """Known customers; anonymous ones have no address and were never asked."""
    withheld: int
    """Checkouts that were left out."""


def read(file: Path, *, at_most: int | None = None) -> list[dict[str, Any]]:
    """Return the events of a file, in its order."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return found[:at_most]


def tell(events: Sequence[dict[str, Any]], *, until: datetime, within: timedelta) -> Story:
    """Put the events, in order, into the time just before `until`, no two at the same instant."""
    played, withheld, checkouts = [], 0, 0
    for event in events:
        if event["type"] == "order_placed":
            checkouts += 1
            if checkouts % WITHHELD_EVERY == 0:
                withheld += 1
                continue
        played.append(event)
    step = within / len(played)
    begin = until - within
    happenings = [
        Happening(
            event_id=event["event_id"],
            type=event["type"],
            profile=event["profile"],
            occur_time=begin + step * index,
            properties=event["properties"],
        )
        for index, event in enumerate(played)
    ]
    profiles = dict.fromkeys(one.profile for one in happenings)
    people = [person(profile) for profile in profiles if profile.startswith(_KNOWN)]
    return Story(happenings=happenings, people=people, withheld=withheld)


def person(profile: str) -> Person:
    """Return what the demonstration makes up about a customer; the same each time."""
    number = int(profile.removeprefix(_KNOWN))
    if number % 11 == 0:
        consent = "unsubscribed"
    elif number % 7 == 0:
        consent = "undecided"
    else:
        consent = "subscribed"
    return Person(
        profile=profile,
        email=f"{profile}@example.com",
        first_name=_NAMES[number % len(_NAMES)] if number % 3 else "",
        consent=consent,
    )
