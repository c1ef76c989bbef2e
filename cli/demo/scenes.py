"""The stories that the demonstration tells beside the orders: who is in them, and what they do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cli.demo.expectation import Rules
from cli.demo.foresight import clock, keeps_its_hours
from cli.demo.story import Happening, Person

# Who comes back while her win-back waits, and all who were silent.
RETURNER = "vera"
SILENT = ("uma", RETURNER, "wim")
# Between one act and the next.
_STEP = timedelta(milliseconds=2)
# How late the sale's messages may be judged, on a slow machine.
_MARGIN = timedelta(minutes=10)
# All around the world, with its half hours and quarters.
_SHOPPERS = {
    "aroha": "Pacific/Auckland",
    "yuki": "Asia/Tokyo",
    "bina": "Asia/Kathmandu",
    "asha": "Asia/Kolkata",
    "paul": "Europe/Paris",
    "rita": "America/Sao_Paulo",
    "tess": "America/Denver",
    "kai": "Pacific/Honolulu",
}
# The last of them is told by name. The one after her takes it back.
_LIKED = (
    *("ben", "chidi", "dana", "emil", "fay", "goran", "hana", "iris", "jonas", "kim", "lena"),
    *("mia", "noa", "ana"),
)
_TOOK_BACK = "otto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that somebody does."""

    who: str
    type: str
    properties: Mapping[str, Any]
    ago: timedelta = timedelta(0)
    """How long before the demonstration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A story: its people, and what they do in turn."""

    id: str
    story: str
    """Which, and in a word what it is about."""
    campaigns: tuple[str, ...]
    people: tuple[Person, ...]
    """Who may get a message."""
    acts: tuple[Act, ...]
    notes: Mapping[str, str]
    """What there is to know of some of them."""


def scenes(rules: Rules, now: datetime) -> list[Scene]:
    """Return all of them, as they are told at `now`."""
    return [_activity(), _promotion(rules, now), _silence(rules), _likes()]


def play(told: Sequence[Scene], now: datetime) -> list[Happening]:
    """Return what happens in the scenes, in order and all of it before `now`."""
    acts = [(scene, number, act) for scene in told for number, act in enumerate(scene.acts)]
    begin = now - _STEP * len(acts)
    return [
        Happening(
            event_id=f"{scene.id}-{number}",
            type=act.type,
            profile=act.who,
            occur_time=begin + _STEP * index - act.ago,
            properties=dict(act.properties),
        )
        for index, (scene, number, act) in enumerate(acts)
    ]


def comes_back(now: datetime) -> Happening:
    """Return how she who was silent comes back."""
    return Happening(
        event_id="silence-return",
        type="page_viewed",
        profile=RETURNER,
        occur_time=now,
        properties={},
    )


def _activity() -> Scene:
    return Scene(
        id="activity",
        story="S1 Activity: a comment is told at once, a change of jobs in the digest",
        campaigns=("review-comment", "weekly-digest"),
        people=(_person("mia"), _person("noa"), _person("otto", consent="unsubscribed")),
        acts=(
            _comment("ana", "mia", "Douro Tinto 2019"),
            _comment("mia", "mia", "Douro Tinto 2019"),
            _comment("ben", "otto", "Rheingau Riesling 2021"),
            _news("ben", "mia", "job_change", "now at a vineyard"),
            _news("chidi", "noa", "job_change", "now at a cooper's"),
            _news("dana", "noa", "comment", "You are right about the cherries."),
            _news("dana", "mia", "job_change", "now on her own"),
        ),
        notes={"otto": "has unsubscribed"},
    )


def _comment(who: str, owner: str, review: str) -> Act:
    properties = {"review": review, "review_owner": owner, "commenter_name": who.capitalize()}
    return Act(who=who, type="comment_posted", properties={**properties, "text": "Well said."})


def _news(who: str, connection: str, kind: str, text: str) -> Act:
    properties = {"connection": connection, "kind": kind, "name": who.capitalize(), "text": text}
    return Act(who=who, type="connection_activity", properties=properties)


def _promotion(rules: Rules, now: datetime) -> Scene:
    """Who looks at something in the sale; at her own hour, whatever it is now.

    Left out is whose window opens or closes while the demonstration runs: nobody could say which
    side of it her message will find.
    """
    longest = rules.sale_delay + rules.sale_spread + _MARGIN
    shoppers = [
        _person(name, time_zone=zone)
        for name, zone in _SHOPPERS.items()
        if keeps_its_hours(zone, now, longest)
    ]
    others = (_person("cleo"), _person("dora"), _person("hugo"))
    return Scene(
        id="promotion",
        story="S6 Promotion: between its start and end, and only by day where she is",
        campaigns=("promotion",),
        people=(*shoppers, *others),
        acts=(
            *(_look(one.profile, 24.0) for one in shoppers),
            _look("cleo", 4.0),
            _look("dora", 30.0),
            Act(who="dora", type="order_placed", properties={"order_id": "S6-1", "value": 30.0}),
            # The sale began ten minutes ago.
            _look("hugo", 30.0, ago=timedelta(minutes=20)),
        ),
        notes={
            "cleo": "saw a trifle",
            "dora": "has bought since",
            "hugo": "looked too early",
            **{one.profile: _clock(one, now) for one in shoppers},
        },
    )


def _clock(person: Person, now: datetime) -> str:
    city = person.time_zone.rpartition("/")[2].replace("_", " ")
    return f"{city} {clock(person.time_zone, now):%a %H:%M}"


def _look(who: str, price: float, *, ago: timedelta = timedelta(0)) -> Act:
    properties = {"description": "A set of six glasses", "price": price}
    return Act(who=who, type="product_viewed", properties=properties, ago=ago)


def _silence(rules: Rules) -> Scene:
    never_asked = SILENT[-1]
    people = tuple(
        _person(name, consent="undecided" if name == never_asked else "subscribed")
        for name in SILENT
    )
    ago = rules.silence - rules.silence_left
    return Scene(
        id="silence",
        story="S9 Silence: thirty days without a word are complete; back again, and it stops",
        campaigns=("win-back", "welcome-back"),
        people=people,
        acts=tuple(
            Act(who=one.profile, type="page_viewed", properties={}, ago=ago) for one in people
        ),
        notes={RETURNER: "comes back", never_asked: "was never asked"},
    )


def _likes() -> Scene:
    return Scene(
        id="likes",
        story="Digest: many likes, one message; what is taken back is not told",
        campaigns=("likes",),
        people=(_person("zoe"), _person("theo")),
        acts=(
            _like(_TOOK_BACK, "zoe", "sunset"),
            *(_like(who, "zoe", "sunset") for who in _LIKED),
            _like(_TOOK_BACK, "zoe", "sunset", type_="photo_unliked"),
            _like("ben", "theo", "breakfast"),
            _like("ben", "theo", "breakfast", type_="photo_unliked"),
        ),
        notes={"theo": "lost his only like"},
    )


def _like(who: str, owner: str, photo: str, *, type_: str = "photo_liked") -> Act:
    properties = {"photo": photo, "photo_owner": owner, "name": who.capitalize()}
    return Act(who=who, type=type_, properties=properties)


def _person(name: str, *, consent: str = "subscribed", time_zone: str = "") -> Person:
    return Person(
        profile=name,
        email=f"{name}@example.com",
        first_name=name.capitalize(),
        consent=consent,
        time_zone=time_zone,
    )
