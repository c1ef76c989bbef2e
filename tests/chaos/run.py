"""One crash test from beginning to end."""

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from random import Random
from time import perf_counter

import grpc.aio
import msgspec
from beckon.ingest.v1.event_pb2 import Event

from mesh.clock import SystemClock
from stack.sinks.faults import Fault, Kind
from stack.up import Stack
from tests.chaos import blows, campaigns, news
from tests.chaos.cast import (
    CAPPED,
    DELAY,
    GATHERING,
    MAIN,
    WORKSPACES,
    Act,
    Cast,
    Cue,
    Promise,
)
from tests.chaos.client import Lane
from tests.chaos.crowd import CROWD, Crowd, Ledger
from tests.chaos.herd import Herd, herd
from tests.chaos.inbox import Inbox
from tests.chaos.mesh_view import MeshView, connected
from tests.chaos.verdict import History, Verdict, compare_history, judge
from tests.http import put

SETTINGS = {
    # What a killed process held is free again soon, or a run of minutes would not see it.
    "DELIVERY_LEASE_SECONDS": "5",
    "DELIVERY_WEBHOOK_TIMEOUT_SECONDS": "2",
    "DELIVERY_SMTP_TIMEOUT_SECONDS": "2",
    "DELIVERY_RETRY_FIRST_SECONDS": "0.2",
    "DELIVERY_RETRY_LONGEST_SECONDS": "2",
    "DELIVERY_POLL_SECONDS": "0.5",
    "TRIGGER_SEND_LEASE_SECONDS": "4",
    "TRIGGER_PARTITION_LEASE_SECONDS": "3",
    "TRIGGER_CLAIM_SECONDS": "0.5",
    "TRIGGER_BROADCAST_LEASE_SECONDS": "3",
    # Only the crashes are looked at.
    "BECKON_TRACE_RATIO": "0",
}

# Longer than the leases above: who took a message over by mistake has sent it by then.
_QUIET = 7.0

# Seconds until everything must have settled, the machine being busy with other things.
_PATIENCE = 180.0

# So many are told the news while everything is killed.
AUDIENCE = 10_000

# The news go out so slowly that so many seconds of every kill fall into them.
_NEWS_PER_KILL = 1.5

# So long at most the next blow waits until its share of the news is out: on a machine that needs
# seconds to start a process all of them would fall before the first message otherwise.
_BREATH_MAX = 5.0

# A receiver has bad moments, too: it refuses, and it takes without saying so.
_FAULTS = (
    Fault(kind=Kind.REFUSE, status=503, rate=0.02),
    Fault(kind=Kind.DROP, rate=0.02),
)

# At once, about what people did.
_QUESTIONS_MAX = 8

_RECEIPTS = frozenset({"message_sent"})

_TICK = 0.1
_LANES = 2
_SHOWN = 10

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of a run."""

    kills: int
    verdict: Verdict
    history: History
    messages: int
    """That arrived, repeats not counted."""
    receipts: int
    """Of them that are told of in their recipients' histories."""
    quarantined: Sequence[str]
    refused: Sequence[str]
    trails: Sequence[str]
    gathered: int
    """Events that arrived in digests."""
    ledger: Ledger
    """The account of the news."""

    @property
    def lost(self) -> int:
        """Messages that did not arrive, and events that are not known and should be."""
        # What is in the quarantine was acknowledged and led to nothing.
        unknown = len(self.history.missing) + len(self.quarantined) + len(self.refused)
        return self.verdict.lost + unknown + max(0, self.messages - self.receipts)

    @property
    def duplicate(self) -> int:
        """Messages too many, and events that are in the history twice."""
        surplus = max(0, self.receipts - self.messages)
        return self.verdict.duplicate + len(self.history.twice) + surplus

    @property
    def good(self) -> bool:
        """Whether everything held."""
        wrong = self.lost or self.duplicate or self.history.disordered or self.ledger.faults
        return not wrong

    @property
    def summary(self) -> str:
        """The last line."""
        return (
            f"chaos: kills={self.kills} expected={self.verdict.expected}"
            f" lost={self.lost} duplicate={self.duplicate} gathered={self.gathered}"
            f" broadcast={self.ledger.latest.sent} unbalanced={self.ledger.faults}"
        )


@dataclass(slots=True)
class Play:
    """The events of a run: what is said when, and what was."""

    cast: Cast
    lanes: Sequence[tuple[str, Lane]]
    stories_per_second: float
    promises: list[Promise] = field(default_factory=list)
    occurred: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    sent: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """Event ids by workspace and profile, in order."""
    types: set[str] = field(default_factory=set)
    _cues: list[tuple[float, int, Cue]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    async def run(self, over: asyncio.Event) -> None:
        """Tell stories until told that it is over, and end those that have begun."""
        begun = perf_counter()
        told = 0
        while not over.is_set() or self._cues:
            now = perf_counter() - begun
            while not over.is_set() and told < now * self.stories_per_second:
                told += 1
                self._begin(now)
            self._send_due(now)
            await asyncio.sleep(_TICK)

    def note(self, events: Sequence[Event]) -> None:
        """Remember that events are durable."""
        now = _now()
        for event in events:
            self.acknowledged.setdefault(event.event_id, now)

    def _begin(self, now: float) -> None:
        story = self.cast.story()
        self.promises += story.promises
        for cue in story.cues:
            heappush(self._cues, (now + cue.after, next(self._numbers), cue))

    def _send_due(self, now: float) -> None:
        batches: dict[int, list[Event]] = defaultdict(list)
        while self._cues and self._cues[0][0] <= now:
            for act in heappop(self._cues)[2].acts:
                batches[self._lane_of(act)].append(self._event(act))
        for number, events in batches.items():
            self.lanes[number][1].send(events)

    def _lane_of(self, act: Act) -> int:
        own = [number for number, (name, _) in enumerate(self.lanes) if name == act.workspace]
        # A person's events take one way, or they could overtake each other.
        return own[sum(act.profile.encode()) % len(own)]

    def _event(self, act: Act) -> Event:
        self.sent[act.workspace, act.profile].append(act.event_id)
        self.types.add(act.type)
        event = Event(
            event_id=act.event_id,
            type=act.type,
            profile=f"workspaces/{act.workspace}/profiles/{act.profile}",
            properties_json=json.dumps(act.properties).encode(),
        )
        if act.ago is not None:
            event.occur_time.FromDatetime(SystemClock().now() - timedelta(seconds=act.ago))
            self.occurred[act.event_id] = event.occur_time.ToNanoseconds() / 1e9
        return event


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is looked at of a run."""

    view: MeshView
    play: Play
    inbox: Inbox
    watch: news.Watch

    @property
    def ledger(self) -> Ledger:
        """The account of the news."""
        return self.watch.ledger

    def judge(self) -> Verdict:
        """Compare what has arrived with all that was promised."""
        return judge(
            [*self.play.promises, *self.ledger.crowd.promises()],
            self.inbox.read(),
            occurred=self.play.occurred,
            acknowledged=self.play.acknowledged,
        )


async def run(
    folder: Path,
    *,
    kills: int,
    seed: int,
    tell: Tell,
    stories_per_second: float = 15.0,
    audience: int = AUDIENCE,
) -> Result:
    """Kill `kills` processes while events stream, wait until all has settled, and judge."""
    random = Random(seed)
    crowd = Crowd(audience)
    begun = perf_counter()

    def say(line: str) -> None:
        tell(f"[{perf_counter() - begun:6.1f} s] {line}")

    async with (
        Stack(folder, ports="auto", settings=SETTINGS, collector=False) as stack,
        herd(stack) as killable,
        connected(stack.state) as channels,
    ):
        per_minute = math.ceil(60 * audience / (kills * _NEWS_PER_KILL))
        await campaigns.apply(channels, stack.state.webhook_sink, news_per_minute=per_minute)
        await news.gather(channels["profile"], crowd)
        await put(f"{stack.state.webhook_sink}/_sink/faults", msgspec.json.encode(_FAULTS))
        say("all up, campaigns launched, events begin to stream")
        play = Play(Cast(Random(seed)), [], stories_per_second)
        play.lanes = [
            (workspace, Lane(channels["ingest"], workspace, play.note))
            for workspace in (*[MAIN] * _LANES, CAPPED)
        ]
        inbox = Inbox(stack.state.webhook_store)
        watch = news.Watch(channels, inbox, Ledger(crowd))
        scene = Scene(MeshView(channels), play, inbox, watch)
        done = await _strike_while_streaming(killable, scene, random, kills, say)
        events = sum(map(len, play.sent.values()))
        streams = sum(lane.streams for _, lane in play.lanes)
        resent = sum(lane.resent for _, lane in play.lanes)
        say(f"{events} events acknowledged over {streams} streams, {resent} of them sent again")
        await _settle(scene, say)
        result = await _judge(scene, done)
        say(_history_line(result))
        return result


async def _strike_while_streaming(
    killable: Herd, scene: Scene, random: Random, kills: int, say: Tell
) -> int:
    over, play = asyncio.Event(), scene.play
    async with asyncio.TaskGroup() as group:
        group.create_task(news.launch(scene.watch.channels["trigger"]))
        group.create_task(scene.watch.run(over))
        streaming = [group.create_task(lane.run()) for _, lane in play.lanes]
        playing = group.create_task(play.run(over))

        async def breath(struck: int) -> None:
            await _await_news(scene, struck / kills)

        done = await blows.strike(killable, blows.plan(random, kills), say, breath=breath)
        say(f"{scene.inbox.messages(CROWD)} have heard the news so far")
        over.set()
        await playing
        for _, lane in play.lanes:
            lane.close()
        async with asyncio.timeout(_PATIENCE):
            await asyncio.gather(*streaming)
    return done


async def _await_news(scene: Scene, share: float) -> None:
    """Wait, not for long, until a share of the crowd has heard the news."""
    until = perf_counter() + _BREATH_MAX
    wanted = share * scene.ledger.crowd.size
    while True:
        if scene.inbox.messages(CROWD) >= wanted or perf_counter() > until:
            return
        await asyncio.sleep(_TICK)


async def _settle(scene: Scene, say: Tell) -> None:
    """Wait until nothing moves any more; whoever does not come to rest is judged all the same."""
    begun = perf_counter()
    latest_due = max(scene.play.occurred.values(), default=0.0) + DELAY
    while (why := await _unsettled(scene, latest_due)) is not None:
        if perf_counter() - begun > _PATIENCE:
            say(f"not settled after {_PATIENCE:.0f} s: {why}")
            return
        await asyncio.sleep(0.5)
    say("settled; now a quiet time, in which nothing more may come")
    await asyncio.sleep(_QUIET)
    await scene.watch.look()


async def _unsettled(scene: Scene, latest_due: float) -> str | None:
    view, play = scene.view, scene.play
    await scene.watch.look()
    if _now() < latest_due:
        return "messages are not due yet"
    if not scene.ledger.ended:
        return f"the account of the news is open: {scene.ledger.latest}"
    try:
        counted = receipts = 0
        for workspace in (*WORKSPACES, CROWD):
            counted += await view.counted(workspace, frozenset(play.types))
            receipts += await view.counted(workspace, _RECEIPTS)
            if await view.under_way(workspace):
                return f"deliveries of {workspace} are under way"
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    sent = sum(map(len, play.sent.values()))
    if counted < sent:
        return f"profiles count {counted} of {sent} events"
    if lost := scene.judge().lost:
        return f"{lost} messages have not arrived"
    messages = scene.inbox.messages(*WORKSPACES, CROWD)
    if receipts < messages:
        return f"{receipts} of {messages} messages are told of"
    return None


async def _judge(scene: Scene, kills: int) -> Result:
    view, play, verdict = scene.view, scene.play, scene.judge()
    told = {one.key: one for one in scene.inbox.read()}.values()
    found: dict[str, list[str]] = {}
    people = iter(play.sent)

    async def ask() -> None:
        for workspace, profile in people:
            history = await view.history(workspace, profile)
            found[f"{workspace}/{profile}"] = [id_ for kind, id_ in history if kind in play.types]

    await asyncio.gather(*(ask() for _ in range(_QUESTIONS_MAX)))
    sent = {f"{workspace}/{profile}": ids for (workspace, profile), ids in play.sent.items()}
    trails = [line for offence in verdict.offences[:_SHOWN] async for line in view.trail(offence)]
    return Result(
        kills=kills,
        verdict=verdict,
        history=compare_history(sent, found),
        messages=scene.inbox.messages(*WORKSPACES, CROWD),
        receipts=sum([await view.counted(name, _RECEIPTS) for name in (*WORKSPACES, CROWD)]),
        quarantined=[one for name in (*WORKSPACES, CROWD) for one in await view.quarantined(name)],
        refused=[one for _, lane in play.lanes for one in lane.refused],
        trails=trails,
        gathered=sum(len(one.events) for one in told if one.campaign in GATHERING),
        ledger=scene.ledger,
    )


def _history_line(result: Result) -> str:
    history, verdict = result.history, result.verdict
    return (
        f"history: events={history.events} missing={len(history.missing)}"
        f" twice={len(history.twice)} disordered={len(history.disordered)}"
        f" receipts={result.receipts}/{result.messages};"
        f" quarantined={len(result.quarantined)} repeats={verdict.repeats} open={verdict.open}"
        f" looks={result.ledger.looks}"
    )


def _now() -> float:
    return SystemClock().now().timestamp()
