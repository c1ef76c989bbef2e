"""Turns scenario files into scenarios, with every fault taken down that can be seen from here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from beckon.trigger.v1.campaign_service_pb2 import Campaign, InFlight

from cli.manifests import kinds
from cli.manifests.apply import located
from cli.manifests.decode import Document, decode_node
from cli.manifests.kinds import CAMPAIGN, CAP, SEGMENT, TRAIT, Kind
from cli.manifests.places import Faults, Place
from cli.manifests.read import documents, find_files, place_of
from cli.problems import Problem, refusal_of_ours
from cli.scenarios import times
from cli.scenarios.reading import Lines, Reader, Said
from cli.scenarios.shape import SCENARIO
from mesh.errors import MeshError
from simulator.checks import check_resource
from simulator.post import Answer
from simulator.scenario import (
    Act,
    Ask,
    Edit,
    Event,
    ExpectedGoal,
    ExpectedMessage,
    ExpectedRefusal,
    Launched,
    Membership,
    Merge,
    Move,
    Provide,
    Relate,
    Say,
    Scenario,
    Someone,
    Step,
    Write,
)
from simulator.workspace import Settings, Workspace

_WORKSPACE = "main"
_SECTIONS = {"campaigns": CAMPAIGN, "caps": CAP, "segments": SEGMENT, "traits": TRAIT}
_ADDRESSES = ("time_zone", "locale")
_MOVES = {"launch": "active", "pause": "paused", "archive": "archived"}
_PERSONAL = ("email",)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_scenarios(files: Iterable[Path], faults: Faults) -> list[Scenario]:
    """Return the scenarios of files."""
    return [
        scenario
        for file in files
        for node in documents(file, faults)
        if (scenario := _Story(file, faults).tell(node)) is not None
    ]


@dataclass(slots=True)
class _Resources:
    """Documents by kind, and the nodes they come from, to be edited."""

    of: dict[str, list[Document]] = field(default_factory=dict)
    nodes: dict[str, tuple[Path, yaml.MappingNode]] = field(default_factory=dict)
    """Of campaigns, by id."""

    def add(self, document: Document, file: Path, node: yaml.MappingNode) -> None:
        self.of.setdefault(document.kind.name, []).append(document)
        if document.kind is CAMPAIGN:
            self.nodes[document.id] = (file, node)

    def messages(self, kind: Kind) -> list[Any]:
        return [one.message for one in self.of.get(kind.name, ())]


class _Story:
    """One scenario while it is read."""

    def __init__(self, file: Path, faults: Faults) -> None:
        self._file = file
        self._faults = faults
        self._zone = "UTC"
        self._resources = _Resources()
        self._profiles: dict[str, Lines] = {}
        self._messages: list[ExpectedMessage] = []
        self._refusals: list[ExpectedRefusal] = []
        self._goals: list[ExpectedGoal] = []

    def tell(self, node: yaml.MappingNode) -> Scenario | None:
        """Return the scenario, unless it has faults."""
        begun = len(self._faults.found)
        if any(key.value == "kind" for key, _ in node.value):
            place = place_of(self._file, node)
            self._fault(place, "a manifest, no scenario; scenarios name it under `files`")
            return None
        lines = Reader(self._file, self._faults).fields(node, SCENARIO)
        if len(self._faults.found) > begun:
            return None
        self._zone = self._known_zone(lines, "zone") or "UTC"
        self._gather(lines)
        self._profiles = {name: said.value for name, said in lines.get("profiles", {}).items()}
        begin = self._time(lines, "begin", None)
        steps, last = self._steps(lines.get("steps", []), begin)
        first = steps[0].time if steps else last
        begin = begin or first or _EPOCH
        if steps and steps[0].time < begin:
            self._fault(lines.place_of("begin"), "begin: is after the first step")
        self._expect(lines, begin)
        scenario = Scenario(
            name=lines.get("name"),
            begin=begin,
            until=self._time(lines, "until", last),
            zone=self._zone,
            workspace=self._workspace(lines),
            campaigns=self._campaigns(lines.get("state") or "active"),
            caps=self._resources.messages(CAP),
            segments=self._resources.messages(SEGMENT),
            traits=self._resources.messages(TRAIT),
            regions=self._regions(),
            profiles=[self._someone(name, one) for name, one in self._profiles.items()],
            steps=steps,
            messages=self._messages,
            refusals=self._refusals,
            goals=self._goals,
            place=_short(lines.place),
        )
        return None if len(self._faults.found) > begun else scenario

    # What there is.

    def _gather(self, lines: Lines) -> None:
        for said in lines.get("files", []):
            for file in self._manifests(said):
                for node in documents(file, self._faults):
                    self._document(file, node, None)
        sections: dict[str, Kind] = dict(_SECTIONS)
        if "Region" in kinds.KINDS:
            sections["regions"] = kinds.KINDS["Region"]
        for section, kind in sections.items():
            for said in lines.get(section, []):
                if said.value is not None:
                    self._document(self._file, said.value, kind)

    def _manifests(self, said: Said) -> list[Path]:
        try:
            return find_files([self._file.parent / said.value])
        except Problem as problem:
            self._fault(said.place, problem.message)
            return []

    def _document(self, file: Path, node: yaml.MappingNode, kind: Kind | None) -> Document | None:
        wanted = node if kind is None else _with_kind(node, kind)
        document = decode_node(
            wanted, file, workspace=_WORKSPACE, variables=_Anything(), faults=self._faults
        )
        if document is not None:
            self._check(document)
            self._resources.add(document, file, wanted)
        return document

    def _check(self, document: Document) -> None:
        try:
            check_resource(document.id, document.message)
        except MeshError as error:
            for place, text in located(document, refusal_of_ours(error)):
                self._fault(place, text)

    def _regions(self) -> list[Any]:
        region = kinds.KINDS.get("Region")
        return self._resources.messages(region) if region is not None else []

    def _campaigns(self, state: str) -> list[Launched]:
        return [
            Launched(one.id, _campaign(one), one.state or state)
            for one in self._resources.of.get(CAMPAIGN.name, ())
        ]

    def _workspace(self, lines: Lines) -> Workspace:
        settings: Lines | None = lines.get("settings")
        if settings is None:
            return Workspace(name=_WORKSPACE)
        return Workspace(
            name=_WORKSPACE,
            settings=Settings(
                time_zone=self._known_zone(settings, "time_zone"),
                holdout_percent=settings.get("holdout_percent", 0.0),
                holdout_salt=settings.get("holdout_salt", ""),
            ),
        )

    def _someone(self, name: str, lines: Lines) -> Someone:
        self._known_zone(lines, "time_zone")
        said: Mapping[str, Said] = lines.get("subscriptions", {})
        consents = dict.fromkeys(_PERSONAL, "subscribed") | {
            channel: one.value for channel, one in said.items()
        }
        relations: Mapping[str, Said] = lines.get("relations", {})
        return Someone(
            id=name,
            attributes=lines.get("attributes", {})
            | {key: lines.get(key) for key in _ADDRESSES if lines.get(key)},
            consents=consents,
            segments=frozenset(one.value for one in lines.get("segments", [])),
            relations={
                kind: [one.value for one in those.value] for kind, those in relations.items()
            },
        )

    # What happens.

    def _steps(
        self, said: Iterable[Said], begin: datetime | None
    ) -> tuple[list[Step], datetime | None]:
        steps: list[Step] = []
        now = begin
        for one in said:
            lines: Lines = one.value
            if not lines.chosen:
                continue
            at = self._time(lines, "at", now) or now
            if at is None:
                if "at" not in lines.of:
                    self._fault(lines.place, "at: the first step needs a time")
                return steps, now
            if now is not None and at < now:
                self._fault(
                    lines.place_of("at"), f"at: is before the step above ({self._shown(now)})"
                )
            now = at
            self._step(lines, at, steps)
        return steps, now

    def _step(self, lines: Lines, at: datetime, steps: list[Step]) -> None:
        match lines.chosen:
            case "expect":
                for one in lines.get("expect"):
                    self._messages.append(self._message(one.value, at, at))
            case "refuse":
                for one in lines.get("refuse"):
                    self._refusals.append(self._refusal(one.value, at, at))
            case "reach":
                for one in lines.get("reach"):
                    self._goals.append(self._goal(one.value, at, at))
            case _:
                act = self._act(lines, at)
                if act is not None:
                    steps.append(Step(at, act, _short(lines.place)))

    def _act(self, lines: Lines, at: datetime) -> Act | None:
        match lines.chosen:
            case "event":
                return Event(
                    type=lines.get("event"),
                    profile=self._profile(lines),
                    properties=lines.get("properties", {}),
                    id=lines.get("id", ""),
                    occur_time=self._time(lines, "occurred", at),
                    of=self._campaign_id(lines, "of") if "of" in lines.of else "",
                )
            case "set":
                return Write(self._profile(lines), lines.get("set"))
            case "merge":
                return Merge(self._profile(lines, "into"), lines.get("merge"))
            case "subscribe" | "unsubscribe" as word:
                return Say(self._profile(lines), lines.get(word), f"{word}d")
            case "launch" | "pause" | "archive" as word:
                return Move(self._campaign_id(lines, word), _MOVES[word])
            case "edit":
                return self._edit(lines)
            case "provider":
                return Provide(lines.get("provider"), Answer(lines.get("answer")))
            case "enter" | "leave" as word:
                return Membership(self._profile(lines), lines.get(word), word == "enter")
            case "relate" | "unrelate" as word:
                return Relate(
                    self._profile(lines),
                    lines.get(word),
                    lines.get("to"),
                    lines.get("attributes", {}),
                    word == "unrelate",
                )
            case _:
                return Ask(
                    campaign=self._campaign_id(lines, "request"),
                    profile=self._profile(lines),
                    properties=lines.get("properties", {}),
                    id=lines.get("id", ""),
                )

    def _edit(self, lines: Lines) -> Edit | None:
        campaign = self._campaign_id(lines, "edit")
        if campaign not in self._resources.nodes:
            return None
        file, node = self._resources.nodes[campaign]
        merged = _merged(node, lines.get("with"))
        document = decode_node(
            merged, file, workspace=_WORKSPACE, variables=_Anything(), faults=self._faults
        )
        if document is None:
            return None
        self._check(document)
        # What is edited next is edited from here.
        self._resources.nodes[campaign] = (file, merged)
        policy = f"IN_FLIGHT_{lines.get('in_flight', 'unspecified').upper()}"
        return Edit(campaign, _campaign(document), InFlight.Value(policy))

    # What is expected.

    def _expect(self, lines: Lines, begin: datetime) -> None:
        for one in lines.get("expect", []):
            self._messages.append(self._message(one.value, None, begin))
        for one in lines.get("refuse", []):
            self._refusals.append(self._refusal(one.value, None, begin))
        for one in lines.get("reach", []):
            self._goals.append(self._goal(one.value, None, begin))

    def _message(self, lines: Lines, at: datetime | None, since: datetime) -> ExpectedMessage:
        template = lines.get("template")
        return ExpectedMessage(
            to=self._profile(lines, "to"),
            campaign=self._campaign_id(lines, "campaign"),
            at=self._time(lines, "at", since) or at,
            before=self._time(lines, "before", since),
            channel=lines.get("channel"),
            template=template,
            variant=lines.get("variant"),
            event=lines.get("event"),
            digest=lines.get("digest"),
            place=_short(lines.place),
        )

    def _refusal(self, lines: Lines, at: datetime | None, since: datetime) -> ExpectedRefusal:
        return ExpectedRefusal(
            campaign=self._campaign_id(lines, "campaign"),
            gate=lines.get("gate"),
            to=self._profile(lines, "to") if "to" in lines.of else None,
            at=self._time(lines, "at", since) or at,
            event=lines.get("event"),
            detail=lines.get("detail"),
            place=_short(lines.place),
        )

    def _goal(self, lines: Lines, at: datetime | None, since: datetime) -> ExpectedGoal:
        return ExpectedGoal(
            goal=lines.get("goal"),
            campaign=self._campaign_id(lines, "campaign"),
            to=self._profile(lines, "to") if "to" in lines.of else None,
            at=self._time(lines, "at", since) or at,
            variant=lines.get("variant"),
            event=lines.get("event"),
            value=lines.get("value"),
            place=_short(lines.place),
        )

    # Words.

    def _profile(self, lines: Lines, name: str = "profile") -> str:
        found: str = lines.get(name, "")
        if found:
            return found
        if len(self._profiles) == 1:
            return next(iter(self._profiles))
        known = ", ".join(self._profiles) or "none"
        self._fault(lines.place, f"{name}: is missing; profiles: {known}")
        return ""

    def _campaign_id(self, lines: Lines, name: str) -> str:
        found: str = lines.get(name, "")
        known = self._resources.nodes
        if found in known:
            return found
        if not found and len(known) == 1:
            return next(iter(known))
        text = f"{found!r} is no campaign of this scenario" if found else "is missing"
        names = ", ".join(known) or "none"
        self._fault(lines.place_of(name), f"{name}: {text}; campaigns: {names}")
        return ""

    def _time(self, lines: Lines, name: str, since: datetime | None) -> datetime | None:
        said = lines.of.get(name)
        if said is None:
            return None
        try:
            return times.parse(said.value, zone=self._zone, since=since)
        except (ValueError, OverflowError) as error:
            self._fault(said.place, f"{name}: {error}")
            return None

    def _known_zone(self, lines: Lines, name: str) -> str:
        zone: str = lines.get(name, "")
        why = times.check_zone(zone) if zone else ""
        if why:
            self._fault(lines.place_of(name), f"{name}: {why}")
            return ""
        return zone

    def _shown(self, moment: datetime) -> str:
        return times.shown(moment, self._zone)

    def _fault(self, place: Place, text: str) -> None:
        self._faults.add(place, text)


class _Anything(dict[str, str]):
    """Values for `${…}` of manifests: a scenario sends nothing anywhere."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return f"https://{key}.example.com"


def _campaign(document: Document) -> Campaign:
    assert isinstance(document.message, Campaign)
    return document.message


def _with_kind(node: yaml.MappingNode, kind: Kind) -> yaml.MappingNode:
    """Return a manifest that says its kind."""
    if any(key.value == "kind" for key, _ in node.value):
        return node
    pair = tuple(
        yaml.ScalarNode("tag:yaml.org,2002:str", text, node.start_mark, node.end_mark)
        for text in ("kind", kind.name)
    )
    return yaml.MappingNode(node.tag, [pair, *node.value], node.start_mark, node.end_mark)


def _merged(node: yaml.MappingNode, changes: yaml.MappingNode) -> yaml.MappingNode:
    """Return a manifest with some of its fields replaced; an empty one is taken out."""
    new = {key.value for key, _ in changes.value}
    kept = [(key, value) for key, value in node.value if key.value not in new]
    added = [
        (key, value)
        for key, value in changes.value
        if not (isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null")
    ]
    return yaml.MappingNode(node.tag, [*kept, *added], node.start_mark, node.end_mark)


def _short(place: Place) -> str:
    return f"{place.file}:{place.line}"
