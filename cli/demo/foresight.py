"""Works out what the scenes should come to, message by message and refusal by refusal.

As `cli.demo.expectation`, of the same input and sharing nothing with the services, it reads the
campaigns as a person would:

* *Comment on a review*: to the review's owner, but for her own.
* *News of connections*: a comment at once, all else in one message when the week is over.
* *Likes*: one message for a photo, without who took hers back; of a photo that nobody likes any
  more, none.
* *Promotion*: once for who looked at something dear enough since the sale began and has not bought
  since, if her clock shows one of the hours then; else it is held.
* *Win-back*: who is silent for so long and a while, and not back by then. *Welcome back*: who was.
* E-mail goes to who subscribed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cli.demo.expectation import Message, Rules, Stop
from cli.demo.story import Happening, Person

COMMENT = "review-comment"
WEEK = "weekly-digest"
LIKES = "likes"
SALE = "promotion"
WIN_BACK = "win-back"
WELCOME = "welcome-back"
CAMPAIGNS = frozenset({COMMENT, WEEK, LIKES, SALE, WIN_BACK, WELCOME})
# What holds a message of the sale till morning.
HELD = "send_window"
# From the hour on, and up to it, from Monday to Sunday.
HOURS = (*((9, 21),) * 6, (11, 20))
# The sale began so long ago.
SALE_SINCE = timedelta(minutes=10)

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What should come of the scenes."""

    messages: frozenset[Message]
    stops: frozenset[Stop]


def foresee(
    happenings: Sequence[Happening], people: Iterable[Person], rules: Rules, *, now: datetime
) -> Foreseen:
    """Return what should come of what happens, told at `now`."""
    known = {person.profile: person for person in people}
    messages: set[Message] = set()
    stops: set[Stop] = set()
    for one in _all(happenings, known, rules, now):
        if isinstance(one, Stop):
            stops.add(one)
            continue
        person = known[one.to]
        if person.consent == "subscribed":
            messages.add(Message(one.campaign, person.email, one.says))
        else:
            stops.add(Stop(one.campaign, one.to, "consent"))
    return Foreseen(messages=frozenset(messages), stops=frozenset(stops))


def first_due(told: datetime, rules: Rules) -> datetime:
    """Return when the first of what waits is due: by then all that was told must be known."""
    return told + min(rules.likes_pause, rules.week, rules.sale_delay, rules.silence_left)


def win_back_due(told: datetime, rules: Rules) -> datetime:
    """Return when who is silent is written to."""
    return told + rules.silence_left + rules.win_back_delay


def last_due(told: datetime, rules: Rules) -> datetime:
    """Return when the last of what waits is due."""
    sale = told + rules.sale_delay + rules.sale_spread
    return max(win_back_due(told, rules), sale, told + rules.week, told + rules.likes_most)


def clock(zone: str, at: datetime) -> datetime:
    """Return what the clock of a zone shows; '': of none, and so of UTC."""
    return at.astimezone(ZoneInfo(zone or "UTC"))


def is_hour(zone: str, at: datetime) -> bool:
    """Say whether the sale may be told by the clock of a zone."""
    shown = clock(zone, at)
    start, end = HOURS[shown.weekday()]
    return start <= shown.hour < end


def keeps_its_hours(zone: str, since: datetime, longest: timedelta) -> bool:
    """Say whether the answer of `is_hour` stays what it is for so long."""
    minutes = range(-1, longest // _MINUTE + 1)
    return len({is_hour(zone, since + _MINUTE * minute) for minute in minutes}) == 1


def _all(
    happenings: Sequence[Happening], known: dict[str, Person], rules: Rules, now: datetime
) -> Iterator[Message | Stop]:
    """Yield messages, to profiles still, and stops."""
    by_type: dict[str, list[Happening]] = defaultdict(list)
    by_profile: dict[str, list[Happening]] = defaultdict(list)
    for one in happenings:
        by_type[one.type].append(one)
        by_profile[one.profile].append(one)
    yield from _comments(by_type["comment_posted"])
    yield from _news(by_type["connection_activity"])
    yield from _likes([*by_type["photo_liked"], *by_type["photo_unliked"]])
    for person in known.values():
        own = by_profile[person.profile]
        yield from _sale(person, own, rules, now)
        yield from _silences(own, rules, now)


def _comments(comments: Iterable[Happening]) -> Iterator[Message | Stop]:
    for one in comments:
        owner = one.properties["review_owner"]
        if owner == one.profile:
            yield Stop(COMMENT, owner, "recipient")
            continue
        name, review = one.properties["commenter_name"], one.properties["review"]
        yield Message(COMMENT, owner, f"{name} commented on your review of {review}")


def _news(news: Iterable[Happening]) -> Iterator[Message]:
    gathered: dict[str, list[str]] = defaultdict(list)
    for one in news:
        to, name = one.properties["connection"], one.properties["name"]
        if one.properties["kind"] == "comment":
            yield Message(WEEK, to, f"{name} commented on your review")
        else:
            gathered[to].insert(0, f"{name}: {one.properties['text']}")
    for to, lines in gathered.items():
        yield Message(WEEK, to, f"{len(lines)} news of your connections: {', '.join(lines)}")


def _likes(likes: Iterable[Happening]) -> Iterator[Message | Stop]:
    by_photo: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for one in sorted(likes, key=lambda like: like.occur_time):
        names = by_photo[one.properties["photo_owner"], one.properties["photo"]]
        names.pop(one.profile, None)
        if one.type == "photo_liked":
            names[one.profile] = one.properties["name"]
    for (owner, _), names in by_photo.items():
        latest = list(reversed(names.values()))
        if not latest:
            yield Stop(LIKES, owner, "digest")
            continue
        others = len(latest) - 1
        more = f" and {others} others" if others > 1 else " and one other" if others else ""
        yield Message(LIKES, owner, f"{latest[0]}{more} liked your photo: {', '.join(latest)}")


def _sale(
    person: Person, own: Sequence[Happening], rules: Rules, now: datetime
) -> Iterator[Message | Stop]:
    for one in own:
        if one.type != "product_viewed":
            continue
        due = one.occur_time + rules.sale_delay
        if one.occur_time < now - SALE_SINCE:
            yield Stop(SALE, person.profile, "schedule")
        elif one.properties["price"] < rules.sale_above:
            yield Stop(SALE, person.profile, "filter")
        elif any(
            other.type == "order_placed" and one.occur_time < other.occur_time < due
            for other in own
        ):
            yield Stop(SALE, person.profile, "exception")
        elif not is_hour(person.time_zone, due):
            yield Stop(SALE, person.profile, HELD)
        else:
            yield Message(SALE, person.profile, f"20 % off until Epiphany, {person.first_name}")


def _silences(own: Sequence[Happening], rules: Rules, now: datetime) -> Iterator[Message | Stop]:
    times = sorted(one.occur_time for one in own)
    if not times:
        return
    name = own[0].profile
    for before, after in pairwise(times):
        silent = before + rules.silence
        if after < silent:
            continue
        if after < silent + rules.win_back_delay:
            yield Stop(WIN_BACK, name, "exception")
        else:
            yield Message(WIN_BACK, name, f"It has been a while, {name.capitalize()}")
        yield Message(WELCOME, name, f"Welcome back, {name.capitalize()}")
    # Whose silence is complete only after the demonstration is not written to in it.
    if times[-1] + rules.silence <= now + rules.silence_left:
        yield Message(WIN_BACK, name, f"It has been a while, {name.capitalize()}")
