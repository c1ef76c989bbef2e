"""Plays the demonstration on a stack of its own, from nothing to the account at the end."""

import asyncio
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import msgspec
from beckon.delivery.v1 import delivery_service_pb2 as delivery_pb
from beckon.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from beckon.ingest.v1 import ingest_service_pb2 as ingest_pb
from beckon.ingest.v1.event_pb2 import Event
from beckon.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from beckon.throttle.v1 import frequency_cap_service_pb2 as caps_pb
from beckon.throttle.v1 import subscription_service_pb2 as subscription_pb
from beckon.throttle.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import decision_service_pb2 as decision_pb
from beckon.trigger.v1.decision_service_pb2_grpc import DecisionServiceStub
from beckon.type.v1 import channel_pb2

from cli.demo import account, expectation, foresight, scenes, show, stories
from cli.demo.account import Account
from cli.demo.expectation import Expected, Message, Rules
from cli.demo.story import Happening, Person, Story, read, tell
from cli.manifests.apply import Applier
from cli.manifests.decode import Document, decode_files
from cli.manifests.places import Faults
from cli.manifests.read import find_files
from cli.output import last
from cli.pages import pages
from cli.problems import Problem
from cli.session import Session
from cli.streaming.stream import Batch, Sender
from mesh.clock import Clock
from stack.sinks import store
from stack.spans import Span, read_trace
from stack.state import State
from stack.up import DATABASE_SETTING, REDIS_SETTING, Stack

# The whole of the orders happens, in their order, in the seconds before streaming begins.
WITHIN = timedelta(seconds=5)
# What a campaign says in minutes, in seconds: long enough for everything to be in and judged before
# the first message is due, on a slow machine, too.
CONFIRMATION_DELAY = timedelta(seconds=20)
CART_DELAY = timedelta(seconds=25)
LONGER_DELAY = timedelta(seconds=60)
# What the campaigns and caps of examples/campaigns say; a test holds the two equal.
RULES = Rules(
    cart_above=100.0,
    cart_delay=CART_DELAY,
    confirmation_delay=CONFIRMATION_DELAY,
    big_above=1000.0,
    full_above=200.0,
    mails_a_person=2,
    week=timedelta(seconds=15),
    likes_pause=timedelta(seconds=10),
    likes_most=timedelta(seconds=30),
    sale_above=20.0,
    sale_delay=timedelta(seconds=10),
    sale_spread=timedelta(seconds=5),
    silence=timedelta(days=30),
    silence_left=timedelta(seconds=10),
    win_back_delay=timedelta(seconds=16),
)
# Past the next morning, wherever she is, Sundays included.
SALE_LASTS = timedelta(hours=36)
_BATCH = 500
_CALLS_AT_ONCE = 16
_LOOK = 0.25
_LONG_LOOK = 1.0
# After the last message is due.
_PATIENCE = timedelta(seconds=60)
# What profile has seen, trigger has judged within.
_JUDGED_AFTER = timedelta(seconds=2)
_SPANS_PATIENCE = 10.0
_OPEN = ("PENDING", "SENDING")

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class TooSlow(Problem):
    """Not everything was judged when the first message was due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the demonstration is to be played."""

    examples: Path
    rules: Rules = RULES
    events: int | None = None
    """At most so many of the file; None: all."""
    folder: Path | None = None
    """Where to keep the stack's state; None: a temporary folder."""


async def play(settings: Settings, clock: Clock) -> bool:
    """Play it; say whether everything came out as expected.

    Where the machine turns out to be too slow for the delays, it is played once more with longer
    ones.

    Raises:
        Problem: It could not be played to the end.
    """
    if settings.folder is not None:
        return await _play(settings, clock, settings.folder)
    try:
        return await _play_somewhere(settings, clock)
    except TooSlow as problem:
        if settings.rules.confirmation_delay >= LONGER_DELAY:
            raise
        show.note(f"{problem.message}; once more, with longer ones")
        rules = slower(settings.rules, LONGER_DELAY)
        return await _play_somewhere(replace(settings, rules=rules), clock)


async def _play_somewhere(settings: Settings, clock: Clock) -> bool:
    with tempfile.TemporaryDirectory(prefix="beckon-demo-") as folder:
        return await _play(settings, clock, Path(folder))


async def _play(settings: Settings, clock: Clock, folder: Path) -> bool:
    begun = perf_counter()
    show.step("Bringing up PostgreSQL, Redis, five services, two sinks and a span collector")
    stack = Stack(folder / "state", ports="auto")
    async with stack, Session(stack=folder / "state", workspace=_workspace()) as session:
        show.result(f"all up in {stack.start_seconds['all']:.1f} s")
        demo = _Demo(settings, session, clock)
        good = await demo.play(stack.state)
    show.result(f"demonstrated in {perf_counter() - begun:.0f} s; nothing is left running\n")
    show.verdict(demo.events, demo.account)
    return good


class _Demo:
    def __init__(self, settings: Settings, session: Session, clock: Clock) -> None:
        self._settings = settings
        self._session = session
        self._clock = clock
        self.events = 0
        self._types: set[str] = set()
        self.account: Account

    async def play(self, state: State) -> bool:
        rules = self._settings.rules
        raw = read(
            self._settings.examples / "events" / "december-2010.jsonl.gz",
            at_most=self._settings.events,
        )
        await self._apply()
        # Only for who is in it; the instants follow once the setting is done.
        cast = tell(raw, until=self._clock.now(), within=WITHIN)
        told = scenes.scenes(rules, self._clock.now())
        people = [*cast.people, *(person for scene in told for person in scene.people)]
        await self._introduce(cast.people, people)
        begun = self._clock.now()
        acts = scenes.play(told, begun)
        await self._tell(told, acts)
        await self._await_history(len(acts), foresight.first_due(begun, rules))
        story = tell(raw, until=self._clock.now(), within=WITHIN)
        await self._stream(story)
        happenings = [*acts, *story.happenings]
        await self._await_history(len(happenings), expectation.first_due(story.happenings, rules))
        acts.append(await self._come_back(foresight.win_back_due(begun, rules)))
        expected = self._expect([*story.happenings, *acts], people, acts, begun)
        profiles = dict.fromkeys(
            [*(one.profile for one in [*acts, *happenings]), *(one.profile for one in people)]
        )
        due = max(expectation.last_due(story.happenings, rules), foresight.last_due(begun, rules))
        await self._await_messages(profiles, expected, state, due)
        decisions = await self._decisions(profiles)
        arrived = list(_arrived(state))
        self.account = account.settle(arrived, expected, stories.stops(decisions))
        mails = store.list_mails(state.mail_store)
        for line in stories.tell(told, mails, decisions, begun):
            show.line(line)
        show.line(f"\n{stories.tell_carts(mails)}")
        await self._report(decisions, state)
        return self.account.good

    def _expect(
        self,
        happenings: Sequence[Happening],
        people: Sequence[Person],
        acts: Sequence[Happening],
        begun: datetime,
    ) -> Expected:
        rules = self._settings.rules
        orders = expectation.expect(happenings, people, rules)
        foreseen = foresight.foresee(acts, people, rules, now=begun)
        return replace(orders, certain=orders.certain | foreseen.messages, stops=foreseen.stops)

    async def _apply(self) -> None:
        show.step("Applying examples/campaigns, with minutes shortened to seconds")
        faults = Faults()
        documents = decode_files(
            find_files([self._settings.examples / "campaigns"]),
            workspace=self._session.workspace,
            variables={"webhook_sink": self._session.stack.webhook_sink},
            faults=faults,
        )
        faults.require_none()
        for note in shorten(documents, self._settings.rules, self._clock.now()):
            show.note(note)
        applier = await Applier.of(self._session)
        results = await applier.apply(documents, faults)
        faults.require_none()
        kinds = Counter(f"{one.document.kind.name}s {one.action}" for one in results)
        show.result(", ".join(f"{count} {kind}" for kind, count in kinds.items()))

    async def _introduce(self, customers: Sequence[Person], people: Sequence[Person]) -> None:
        counts = Counter(person.consent for person in people)
        others = len(people) - len(customers)
        show.step(f"Introducing {len(customers)} customers and {others} others: addresses, consent")
        profiles = ProfileServiceStub(await self._session.channel("profile"))
        subscriptions = SubscriptionServiceStub(await self._session.channel("throttle"))
        parent = self._session.parent
        await _all((_profile(self._session, person) for person in people), profiles.UpdateProfile)
        await subscriptions.BatchUpdateSubscriptions(
            subscription_pb.BatchUpdateSubscriptionsRequest(
                parent=parent,
                subscriptions=[
                    subscription_pb.Subscription(
                        profile=f"{parent}/profiles/{person.profile}",
                        channel=channel_pb2.CHANNEL_EMAIL,
                        state=_CONSENT[person.consent],
                    )
                    for person in people
                    if person.consent != "undecided"
                ],
            )
        )
        show.result(", ".join(f"{count} {consent}" for consent, count in counts.items()))

    async def _stream(self, story: Story) -> None:
        kinds = Counter(one.type for one in story.happenings)
        show.step(f"Streaming {len(story.happenings):,} events of December 2010 over gRPC")
        show.note(", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()))
        show.note(
            f"{story.withheld} orders never reach the checkout, so that there are abandoned carts"
        )
        begun = perf_counter()
        with show.progress(len(story.happenings)) as advance:
            accepted = await self._send(story.happenings, advance)
        seconds = perf_counter() - begun
        show.result(
            f"{accepted:,} acknowledged, durable, in {seconds:.1f} s"
            f" ({accepted / seconds:,.0f} events/s)"
        )

    async def _tell(self, told: Sequence[scenes.Scene], acts: Sequence[Happening]) -> None:
        show.step(f"Telling {len(told)} stories: {len(acts)} events by their people")
        await self._send(acts)

    async def _send(
        self, happenings: Sequence[Happening], advance: Callable[[int], None] = lambda _: None
    ) -> int:
        async def acknowledged(batch: Batch[int], response: ingest_pb.StreamEventsResponse) -> None:
            advance(batch.tag)
            if response.failed_events:
                first = next(iter(response.failed_events.values()))
                raise Problem(f"an event was refused: {first.message}", reason="REFUSED")

        stub = IngestServiceStub(await self._session.channel("ingest"))
        sender = Sender(stub, self._session.parent, acknowledged)
        await sender.send(_batches(happenings, self._session.parent))
        self.events += sender.totals.accepted
        self._types |= {one.type for one in happenings}
        return sender.totals.accepted

    async def _come_back(self, due: datetime) -> Happening:
        """Wait until all who are silent are to be written to; then let one of them come back.

        Raises:
            Problem: It was too late for that.
        """
        show.step(f"Waiting for {len(scenes.SILENT)} silences to be complete")
        await self._await_waiting(set(scenes.SILENT), due, "not everybody was known to be silent")
        back = scenes.comes_back(self._clock.now())
        await self._send([back])
        others = set(scenes.SILENT) - {scenes.RETURNER}
        await self._await_waiting(others, due, f"{scenes.RETURNER} was not known to be back")
        left = (due - self._clock.now()).total_seconds()
        show.result(f"they are; {scenes.RETURNER} is back {left:.0f} s before her message is due")
        return back

    async def _await_waiting(self, profiles: set[str], due: datetime, seen: str) -> None:
        """Wait until of the silent just these are to be written to."""
        while profiles != {
            last(one.profile)
            for one in await self._decisions(scenes.SILENT)
            if last(one.campaign) == foresight.WIN_BACK
            and one.state == decision_pb.Decision.STATE_WAITING
        }:
            self._require_time(due, seen)
            await asyncio.sleep(_LOOK)

    async def _await_history(self, count: int, due: datetime) -> None:
        """Wait until so many events are in history.

        Raises:
            Problem: That took until the first message was due; then exceptions may come too late,
                and nobody could say what to expect.
        """
        while (counted := await self._count_history()) < count:
            self._require_time(due, f"{counted:,} of {count:,} events were judged")
            await asyncio.sleep(_LOOK)
        self._require_time(due, "the last of the events was judged")
        left = (due - self._clock.now()).total_seconds()
        show.result(f"all of them in history {left:.0f} s before the first message is due")

    def _require_time(self, due: datetime, seen: str) -> None:
        if self._clock.now() + _JUDGED_AFTER >= due:
            raise TooSlow(
                f"this machine is too slow for the demonstration's delays: {seen} when the first"
                " message was due",
                reason="TOO_SLOW",
                hint="beckon demo --delay 60s",
            )

    async def _count_history(self) -> int:
        stub = ProfileServiceStub(await self._session.channel("profile"))
        request = profile_pb.ListProfilesRequest(parent=self._session.parent)
        return sum(
            counter.count
            for type_, counter in [
                item
                async for page in pages(stub.ListProfiles, request, lambda found: found.profiles)
                for profile in page
                for item in profile.counters.items()
            ]
            if type_ in self._types
        )

    async def _await_messages(
        self, profiles: Iterable[str], expected: Expected, state: State, due: datetime
    ) -> None:
        """Wait until nothing is on its way any more but what is held till morning."""
        show.step(f"Waiting for {expected.count} messages; the last one is due at {due:%H:%M:%S}")
        with show.progress(expected.count) as advance:
            seen = 0
            while True:
                now = _count(state)
                advance(now - seen)
                seen = now
                if self._clock.now() > due and not await self._on_the_way(profiles):
                    break
                if self._clock.now() > due + _PATIENCE:
                    raise Problem(
                        f"{seen} of {expected.count} messages arrived in time", reason="TOO_LATE"
                    )
                # Past that, a look is four hundred questions.
                await asyncio.sleep(_LOOK if self._clock.now() < due else _LONG_LOOK)
        show.result(f"{_count(state)} messages arrived, none is on its way any more")

    async def _on_the_way(self, profiles: Iterable[str]) -> bool:
        deliveries = DeliveryServiceStub(await self._session.channel("delivery"))
        states = [delivery_pb.Delivery.State.Value(f"STATE_{name}") for name in _OPEN]
        request = delivery_pb.ListDeliveriesRequest(
            parent=self._session.parent, states=states, page_size=1
        )
        if (await deliveries.ListDeliveries(request)).deliveries:
            return True
        waiting = {decision_pb.Decision.STATE_WAITING, decision_pb.Decision.STATE_SENDING}
        return any(
            one.state in waiting and not stories.is_held(one)
            for one in await self._decisions(profiles)
        )

    async def _decisions(self, profiles: Iterable[str]) -> list[decision_pb.Decision]:
        stub = DecisionServiceStub(await self._session.channel("trigger"))

        async def of(profile: str) -> list[decision_pb.Decision]:
            request = decision_pb.ListDecisionsRequest(
                parent=self._session.name("profiles", profile)
            )
            return [
                decision
                async for page in pages(stub.ListDecisions, request, lambda one: one.decisions)
                for decision in page
            ]

        found = await _all(profiles, of)
        return [decision for some in found for decision in some]

    async def _report(self, decisions: Sequence[decision_pb.Decision], state: State) -> None:
        deliveries = await self._deliveries()
        show.table(
            {
                kind: count
                for kind, count in show.rows(decisions, deliveries).items()
                if kind.campaign not in foresight.CAMPAIGNS
            }
        )
        for label, messages in (
            ("lost", self.account.lost),
            ("unexpected", self.account.unexpected),
        ):
            for message in messages[:10]:
                show.note(f"{label}: {message.campaign} to {message.to}: {message.says}")
        for stop in self.account.astray[:10]:
            show.note(f"astray: {stop.campaign} to {stop.profile}, {stop.gate}")
        of_carts = [one for one in deliveries if last(one.campaign) == expectation.CART]
        sent = [one for one in of_carts or deliveries if one.trace_id and one.HasField("send_time")]
        if sent:
            await self._show_trace(sent[0], state)

    async def _deliveries(self) -> list[delivery_pb.Delivery]:
        stub = DeliveryServiceStub(await self._session.channel("delivery"))
        request = delivery_pb.ListDeliveriesRequest(parent=self._session.parent)
        return [
            one
            async for page in pages(stub.ListDeliveries, request, lambda found: found.deliveries)
            for one in page
        ]

    async def _show_trace(self, delivery: delivery_pb.Delivery, state: State) -> None:
        begun = perf_counter()
        while not _whole(spans := read_trace(state.span_store, delivery.trace_id)):
            if perf_counter() - begun > _SPANS_PATIENCE:
                break
            await asyncio.sleep(_LOOK)
        show.trace(f"{last(delivery.campaign)} to {last(delivery.profile)}", spans)


def shorten(documents: Iterable[Document], rules: Rules, now: datetime) -> Iterator[str]:
    """Fit campaigns and caps to a demonstration; yield what was changed."""
    delays = {
        expectation.CART: rules.cart_delay,
        expectation.CONFIRMATION: rules.confirmation_delay,
        foresight.SALE: rules.sale_delay,
        foresight.WIN_BACK: rules.win_back_delay,
    }
    for document in documents:
        message = document.message
        if isinstance(message, campaign_pb.Campaign):
            if document.id in delays:
                told = delays[document.id]
                was = message.delay.ToTimedelta()
                message.delay.FromTimedelta(told)
                yield f"{document.id} waits {_seconds(told)} instead of {was.seconds // 60} m"
            yield from _shorten_windows(document.id, message, rules, now)
        if isinstance(message, caps_pb.FrequencyCap) and document.id == "daily-email":
            # It may be midnight somewhere while the demonstration runs.
            message.rolling.FromTimedelta(timedelta(hours=24))
            yield "daily-email counts any 24 h instead of the recipient's day: no midnight between"


def _shorten_windows(
    id_: str, campaign: campaign_pb.Campaign, rules: Rules, now: datetime
) -> Iterator[str]:
    if id_ == foresight.SALE:
        campaign.wait.spread.FromTimedelta(rules.sale_spread)
        campaign.start_time.FromDatetime(now - foresight.SALE_SINCE)
        campaign.end_time.FromDatetime(now + SALE_LASTS)
        yield "promotion began ten minutes ago and is over in a day and a half"
    elif id_ == foresight.WEEK:
        campaign.digest.fixed.FromTimedelta(rules.week)
        yield f"weekly-digest gathers for {_seconds(rules.week)} instead of until Monday at 9:00"
    elif id_ == foresight.LIKES:
        campaign.digest.sliding.pause.FromTimedelta(rules.likes_pause)
        campaign.digest.sliding.most.FromTimedelta(rules.likes_most)
        yield f"likes are told after {_seconds(rules.likes_pause)} of quiet instead of 10 m"


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"


def _workspace() -> str:
    """Return a workspace that has seen nothing yet, also on servers that stay."""
    if os.environ.get(DATABASE_SETTING) or os.environ.get(REDIS_SETTING):
        return f"demo-{secrets.token_hex(4)}"
    return "demo"


def _profile(session: Session, person: Person) -> profile_pb.UpdateProfileRequest:
    profile = profile_pb.Profile(name=session.name("profiles", person.profile), email=person.email)
    if person.first_name:
        profile.attributes["first_name"] = person.first_name
    profile.time_zone = person.time_zone
    request = profile_pb.UpdateProfileRequest(profile=profile, allow_missing=True)
    request.update_mask.paths.append("email")
    if person.time_zone:
        request.update_mask.paths.append("time_zone")
    if person.first_name:
        request.update_mask.paths.append("attributes.first_name")
    return request


def _batches(happenings: Sequence[Happening], parent: str) -> Iterator[Batch[int]]:
    for start in range(0, len(happenings), _BATCH):
        events = [_event(one, parent) for one in happenings[start : start + _BATCH]]
        yield Batch(events, len(events))


def _event(happening: Happening, parent: str) -> Event:
    event = Event(
        event_id=happening.event_id,
        type=happening.type,
        profile=f"{parent}/profiles/{happening.profile}",
        properties_json=msgspec.json.encode(happening.properties),
    )
    event.occur_time.FromDatetime(happening.occur_time)
    return event


def _arrived(state: State) -> Iterator[Message]:
    yield from map(account.read_mail, store.list_mails(state.mail_store))
    yield from map(account.read_webhook, store.list_webhooks(state.webhook_store))


def _count(state: State) -> int:
    return sum(store.count(file).received for file in (state.mail_store, state.webhook_store))


def _whole(spans: Sequence[Span]) -> bool:
    """Say whether a trace has come in from end to end."""
    return {"event", "send"} <= {span.name for span in spans}


async def _all(items: Iterable[Item], do: Callable[[Item], Awaitable[Answer]]) -> list[Answer]:
    """Do something with every item, some at a time; keep the order."""
    places = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def one(item: Item) -> Answer:
        async with places:
            return await do(item)

    return list(await asyncio.gather(*map(one, items)))


def slower(rules: Rules, delay: timedelta) -> Rules:
    """Return rules for a slower machine; the first message of an order waits for `delay`."""
    longer = CART_DELAY - CONFIRMATION_DELAY
    factor = delay / rules.confirmation_delay
    return replace(
        rules,
        confirmation_delay=delay,
        cart_delay=delay + longer,
        week=rules.week * factor,
        likes_pause=rules.likes_pause * factor,
        likes_most=rules.likes_most * factor,
        sale_delay=rules.sale_delay * factor,
        silence_left=rules.silence_left * factor,
        win_back_delay=rules.win_back_delay * factor,
    )


_CONSENT = {
    "subscribed": subscription_pb.Subscription.STATE_SUBSCRIBED,
    "unsubscribed": subscription_pb.Subscription.STATE_UNSUBSCRIBED,
}
