"""What a scenario file may say: read by the decoder, published as a schema for editors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cli.manifests.kinds import CAMPAIGN, CAP, KINDS, SEGMENT, TRAIT, Kind

TIME_HELP = (
    "`2026-03-29 09:00` by the clock of `zone`, the same with a zone behind it"
    " (`2026-03-29 09:00 Asia/Kolkata`), an instant (`2026-03-29T07:00:00Z`),"
    " or `+30m` after the step before"
)
ID = r"^[A-Za-z0-9._~@+:=-]{1,128}$"
RESOURCE = r"^[a-z][a-z0-9-]{0,62}$"
SNAKE = r"^[a-z][a-z0-9_]{0,62}$"


@dataclass(frozen=True, slots=True)
class Text:
    """A text."""

    help: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Time:
    """An instant, in one of several ways to write it."""

    help: str


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    help: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    help: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON object."""

    help: str


@dataclass(frozen=True, slots=True)
class Several:
    """A list; a single one may be written without its dash where `single`."""

    help: str
    of: "Shape"
    single: bool = False


@dataclass(frozen=True, slots=True)
class ByName:
    """Things by their names."""

    help: str
    of: "Shape"
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A resource as manifests have it, of a kind that the place says."""

    help: str
    kind: Kind
    partial: bool = False
    """Whether it holds only what is changed, and has no `id`."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Lines of `name: value`."""

    help: str
    fields: Mapping[str, "Shape"]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    """Fields of which exactly one says what it is, with what belongs to it."""

    help: str
    common: Mapping[str, "Shape"]
    choices: Mapping[str, Fields] = field(default_factory=dict)
    """By the field that says what it is; that field is among its own."""


Shape = Text | Time | Number | Choice | Anything | Several | ByName | Manifest | Fields | OneOf

_CHANNELS = ("email", "webhook", "push", "sms")
_CONSENTS = ("subscribed", "unsubscribed", "undecided")

_PROFILE = Text("Whose id. May be left out where there is only one profile.", ID)
_CAMPAIGN = Text("Id of a campaign.", RESOURCE)
_PROPERTIES = Anything("What the event says of itself.")

MESSAGE = Fields(
    "A message that goes out. What is left out is not asked.",
    {
        "to": Text("Id of the profile that gets it. Default: the only one there is.", ID),
        "campaign": Text("Id of its campaign. Default: the only one there is.", RESOURCE),
        "at": Time("When, to the second. With `before`: the earliest."),
        "before": Time("The latest time."),
        "channel": Choice("How.", _CHANNELS),
        "template": Text("Id of its template.", RESOURCE),
        "variant": Text("Which variant was assigned; `default` for none of them.", RESOURCE),
        "event": Text("Id of the event that it is about.", ID),
        "digest": Anything("Some of what its template sees as `digest`: `count`, `groups`, …"),
    },
)
REFUSAL = Fields(
    "A message that does not go out, and the gate that sees to it.",
    {
        "campaign": Text("Id of its campaign. Default: the only one there is.", RESOURCE),
        "gate": Text("Name of the gate: `filter`, `reentry`, `frequency_cap`, …", SNAKE),
        "to": Text("Id of the profile. Default: anybody's.", ID),
        "at": Time("When the gate was asked, to the second."),
        "event": Text("Id of the event that it is about.", ID),
        "detail": Text("Words that the gate's detail holds."),
    },
    ("gate",),
)

GOAL = Fields(
    "A goal that a passage reaches. What is left out is not asked.",
    {
        "goal": Text("Id of the goal.", RESOURCE),
        "campaign": Text("Id of its campaign. Default: the only one there is.", RESOURCE),
        "to": Text("Id of the profile that reaches it. Default: anybody.", ID),
        "at": Time("When the event occurred that counts, to the second."),
        "variant": Text(
            "Which variant was assigned; `default` for none of them, `holdout`.", RESOURCE
        ),
        "event": Text("Id of the event that began the passage.", ID),
        "value": Number("What it is worth."),
    },
    ("goal",),
)

STEP = OneOf(
    "What happens, or what has happened by then.",
    {"at": Time(f"When: {TIME_HELP}. Default: at the time of the step before.")},
    {
        "event": Fields(
            "Somebody does something.",
            {
                "event": Text("Type of the event, as `item_added_to_cart`.", SNAKE),
                "profile": _PROFILE,
                "id": Text("Id of the event. Default: a new one.", ID),
                "properties": _PROPERTIES,
                "occurred": Time("When it occurred, if not when it is received; `-2h` is before."),
                "of": Text(
                    "A campaign: the event is about its latest message to the profile.", RESOURCE
                ),
            },
        ),
        "set": Fields(
            "A service writes attributes; a null unsets one.",
            {
                "set": Anything("By key; `time_zone`, `locale`, `email` and `phone` among them."),
                "profile": _PROFILE,
            },
        ),
        "merge": Fields(
            "Two ids turn out to be one person.",
            {"merge": Text("The id that goes under another from now on.", ID), "into": _PROFILE},
        ),
        "subscribe": Fields(
            "Somebody agrees to a channel.",
            {"subscribe": Choice("Which.", _CHANNELS), "profile": _PROFILE},
        ),
        "unsubscribe": Fields(
            "Somebody says no to a channel.",
            {"unsubscribe": Choice("Which.", _CHANNELS), "profile": _PROFILE},
        ),
        "launch": Fields("A campaign is launched, or goes on.", {"launch": _CAMPAIGN}),
        "pause": Fields("A campaign is paused.", {"pause": _CAMPAIGN}),
        "archive": Fields("A campaign is over for good.", {"archive": _CAMPAIGN}),
        "edit": Fields(
            "A campaign gets another content.",
            {
                "edit": _CAMPAIGN,
                "with": Manifest("Fields that change, whole.", CAMPAIGN, partial=True),
                "in_flight": Choice(
                    "What becomes of who is on the way.", ("migrate", "finish", "exit")
                ),
            },
            ("with",),
        ),
        "provider": Fields(
            "A channel's provider answers otherwise from now on.",
            {
                "provider": Choice("Of which channel.", _CHANNELS),
                "answer": Choice(
                    "Takes every message, refuses it for good, or does not answer.",
                    ("accept", "refuse", "away"),
                ),
            },
            ("answer",),
        ),
        "enter": Fields(
            "Somebody enters a segment that no filter in this file tells.",
            {"enter": Text("Id of the segment.", RESOURCE), "profile": _PROFILE},
        ),
        "leave": Fields(
            "Somebody leaves such a segment.",
            {"leave": Text("Id of the segment.", RESOURCE), "profile": _PROFILE},
        ),
        "relate": Fields(
            "Somebody relates to somebody.",
            {
                "relate": Text("The kind of relation, as `follows`.", SNAKE),
                "profile": _PROFILE,
                "to": Text("To whom.", ID),
                "attributes": Anything("Of the relation."),
            },
            ("to",),
        ),
        "unrelate": Fields(
            "Somebody relates to somebody no more.",
            {
                "unrelate": Text("The kind of relation.", SNAKE),
                "profile": _PROFILE,
                "to": Text("To whom.", ID),
            },
            ("to",),
        ),
        "request": Fields(
            "A caller asks for a campaign by the API.",
            {
                "request": _CAMPAIGN,
                "profile": _PROFILE,
                "id": Text("The caller's id of the request.", ID),
                "properties": _PROPERTIES,
            },
        ),
        "expect": Fields(
            "Messages that go out at the time of the step.",
            {"expect": Several("What goes out.", MESSAGE, single=True)},
        ),
        "refuse": Fields(
            "Messages that are refused, stopped or dropped at the time of the step.",
            {"refuse": Several("What does not go out.", REFUSAL, single=True)},
        ),
        "reach": Fields(
            "Goals that are reached at the time of the step.",
            {"reach": Several("What is reached.", GOAL, single=True)},
        ),
    },
)

PROFILE = Fields(
    "A profile, as it is at the beginning.",
    {
        "time_zone": Text("IANA zone, as `Europe/Berlin`."),
        "locale": Text("BCP 47, as `de-AT`."),
        "attributes": Anything("What is known."),
        "subscriptions": ByName(
            "What was said about channels. Default: subscribed to all.",
            Choice("What.", _CONSENTS),
        ),
        "segments": Several(
            "Segments that it is in and no filter in this file tells.", Text("Id.", RESOURCE)
        ),
        "relations": ByName(
            "To whom it relates, by the kind of relation.",
            Several("Ids.", Text("Id of a profile.", ID), single=True),
            SNAKE,
        ),
    },
)

SCENARIO = Fields(
    "A scenario for `beckon test`: who there is, what happens when, which messages go out.",
    {
        "name": Text("What it tells, in one line."),
        "story": Text("Of whose story it is, for readers."),
        "meaning": Text("Of which rule it is, for readers."),
        "about": Text("More, for readers."),
        "zone": Text("IANA zone in which times are written and shown. Default: UTC."),
        "begin": Time("When campaigns are launched. Default: at the first step."),
        "until": Time("When it ends. Default: when nothing is due any more."),
        "settings": Fields(
            "Of the workspace.",
            {
                "time_zone": Text("IANA zone of people whose own is unknown. Default: UTC."),
                "holdout_percent": Number("Share of the people who get nothing."),
                "holdout_salt": Text("Changes who they are."),
            },
        ),
        "files": Several(
            "Manifests beside this file, for the resources in them.", Text("Path."), single=True
        ),
        "state": Choice("State of the campaigns that do not say.", CAMPAIGN.states),
        "campaigns": Several("Campaigns.", Manifest("A campaign.", CAMPAIGN)),
        "caps": Several("Frequency caps.", Manifest("A cap.", CAP)),
        "segments": Several("Segments.", Manifest("A segment.", SEGMENT)),
        "traits": Several("Traits.", Manifest("A trait.", TRAIT)),
        **(
            {"regions": Several("Regions.", Manifest("A region.", KINDS["Region"]))}
            if "Region" in KINDS
            else {}
        ),
        "profiles": ByName("Profiles by id.", PROFILE, ID),
        "steps": Several("What happens, in the order of time.", STEP),
        "expect": Several("Messages that go out; these and those of the steps, no other.", MESSAGE),
        "refuse": Several("Messages that do not.", REFUSAL),
        "reach": Several(
            "Goals that are reached; of the campaigns named here and in the steps no other.", GOAL
        ),
    },
    ("name", "steps"),
)
