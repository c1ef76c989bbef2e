"""Plays the demonstration on a stack of its own, from nothing to the account at the end."""

import asyncio
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
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

from cli.demo import account, expectation, show
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
    mails_a_person=2,
)
_BATCH = 500
_CALLS_AT_ONCE = 16
_LOOK = 0.25
_LONG_LOOK = 1.0
# After the last message is due.
_PATIENCE = timedelta(seconds=60)
# What profile has seen, trigger has judged within.
_JUDGED_AFTER = timedelta(seconds=1)
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
        self.account: Account

    async def play(self, state: State) -> bool:
        raw = read(
            self._settings.examples / "events" / "december-2010.jsonl.gz",
            at_most=self._settings.events,
        )
        await self._apply()
        # Only for who is in it; the instants follow once the setting is done.
        cast = tell(raw, until=self._clock.now(), within=WITHIN)
        await self._introduce(cast.people)
        story = tell(raw, until=self._clock.now(), within=WITHIN)
        expected = expectation.expect(story.happenings, story.people, self._settings.rules)
        await self._stream(story)
        await self._await_history(story)
        await self._await_messages(story, expected, state)
        arrived = list(_arrived(state))
        self.account = account.settle(arrived, expected)
        await self._report(story, state)
        return self.account.good

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
        for note in shorten(documents, self._settings.rules):
            show.note(note)
        applier = await Applier.of(self._session)
        results = await applier.apply(documents, faults)
        faults.require_none()
        kinds = Counter(f"{one.document.kind.name}s {one.action}" for one in results)
        show.result(", ".join(f"{count} {kind}" for kind, count in kinds.items()))

    async def _introduce(self, people: Sequence[Person]) -> None:
        counts = Counter(person.consent for person in people)
        named = sum(bool(person.first_name) for person in people)
        show.step(f"Introducing {len(people)} customers: addresses, {named} first names, consent")
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
        stub = IngestServiceStub(await self._session.channel("ingest"))
        begun = perf_counter()
        with show.progress(len(story.happenings)) as advance:

            async def acknowledged(
                batch: Batch[int], response: ingest_pb.StreamEventsResponse
            ) -> None:
                advance(batch.tag)
                if response.failed_events:
                    first = next(iter(response.failed_events.values()))
                    raise Problem(f"an event was refused: {first.message}", reason="REFUSED")

            sender = Sender(stub, self._session.parent, acknowledged)
            await sender.send(_batches(story.happenings, self._session.parent))
        seconds = perf_counter() - begun
        self.events = sender.totals.accepted
        show.result(
            f"{self.events:,} acknowledged, durable, in {seconds:.1f} s"
            f" ({self.events / seconds:,.0f} events/s)"
        )

    async def _await_history(self, story: Story) -> None:
        """Wait until everything is in history.

        Raises:
            Problem: That took until the first message was due; then exceptions may come too late,
                and nobody could say what to expect.
        """
        due = expectation.first_due(story.happenings, self._settings.rules)
        while (counted := await self._count_history()) < len(story.happenings):
            if self._clock.now() + _JUDGED_AFTER >= due:
                raise TooSlow(
                    f"this machine is too slow for the demonstration's delays: {counted:,} of"
                    f" {len(story.happenings):,} events were judged when the first message was due",
                    reason="TOO_SLOW",
                    hint="beckon demo --delay 60s",
                )
            await asyncio.sleep(_LOOK)
        left = (due - self._clock.now()).total_seconds()
        show.result(f"all of them in history {left:.0f} s before the first message is due")

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
            if not type_.startswith("message_")
        )

    async def _await_messages(self, story: Story, expected: Expected, state: State) -> None:
        """Wait until nothing is on its way any more."""
        due = expectation.last_due(story.happenings, self._settings.rules)
        show.step(f"Waiting for {expected.count} messages; the last one is due at {due:%H:%M:%S}")
        with show.progress(expected.count) as advance:
            seen = 0
            while True:
                now = _count(state)
                advance(now - seen)
                seen = now
                if self._clock.now() > due and not await self._on_the_way(story):
                    break
                if self._clock.now() > due + _PATIENCE:
                    raise Problem(
                        f"{seen} of {expected.count} messages arrived in time", reason="TOO_LATE"
                    )
                # Past that, a look is four hundred questions.
                await asyncio.sleep(_LOOK if self._clock.now() < due else _LONG_LOOK)
        show.result(f"{_count(state)} messages arrived, none is on its way any more")

    async def _on_the_way(self, story: Story) -> bool:
        deliveries = DeliveryServiceStub(await self._session.channel("delivery"))
        states = [delivery_pb.Delivery.State.Value(f"STATE_{name}") for name in _OPEN]
        request = delivery_pb.ListDeliveriesRequest(
            parent=self._session.parent, states=states, page_size=1
        )
        if (await deliveries.ListDeliveries(request)).deliveries:
            return True
        waiting = {decision_pb.Decision.STATE_WAITING, decision_pb.Decision.STATE_SENDING}
        return any(one.state in waiting for one in await self._decisions(story))

    async def _decisions(self, story: Story) -> list[decision_pb.Decision]:
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

        found = await _all(dict.fromkeys(one.profile for one in story.happenings), of)
        return [decision for some in found for decision in some]

    async def _report(self, story: Story, state: State) -> None:
        decisions = await self._decisions(story)
        deliveries = await self._deliveries()
        show.table(show.rows(decisions, deliveries))
        for label, messages in (
            ("lost", self.account.lost),
            ("unexpected", self.account.unexpected),
        ):
            for message in messages[:10]:
                show.note(f"{label}: {message.campaign} to {message.to}: {message.says}")
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


def shorten(documents: Iterable[Document], rules: Rules) -> Iterator[str]:
    """Fit campaigns and caps to a demonstration; yield what was changed."""
    delays = {
        expectation.CART: rules.cart_delay,
        expectation.CONFIRMATION: rules.confirmation_delay,
    }
    for document in documents:
        message = document.message
        if isinstance(message, campaign_pb.Campaign) and document.id in delays:
            told = delays[document.id]
            was = message.delay.ToTimedelta()
            message.delay.FromTimedelta(told)
            yield f"{document.id} waits {told.seconds} s instead of {was.seconds // 60} m"
        if isinstance(message, caps_pb.FrequencyCap) and document.id == "daily-email":
            # It may be midnight somewhere while the demonstration runs.
            message.rolling.FromTimedelta(timedelta(hours=24))
            yield "daily-email counts any 24 h instead of the recipient's day: no midnight between"


def _workspace() -> str:
    """Return a workspace that has seen nothing yet, also on servers that stay."""
    if os.environ.get(DATABASE_SETTING) or os.environ.get(REDIS_SETTING):
        return f"demo-{secrets.token_hex(4)}"
    return "demo"


def _profile(session: Session, person: Person) -> profile_pb.UpdateProfileRequest:
    profile = profile_pb.Profile(name=session.name("profiles", person.profile), email=person.email)
    if person.first_name:
        profile.attributes["first_name"] = person.first_name
    request = profile_pb.UpdateProfileRequest(profile=profile, allow_missing=True)
    request.update_mask.paths.append("email")
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
    """Return rules for a slower machine; the first message waits for `delay`."""
    longer = CART_DELAY - CONFIRMATION_DELAY
    return replace(rules, confirmation_delay=delay, cart_delay=delay + longer)


_CONSENT = {
    "subscribed": subscription_pb.Subscription.STATE_SUBSCRIBED,
    "unsubscribed": subscription_pb.Subscription.STATE_UNSUBSCRIBED,
}
