"""Everything that happens to one workspace, in the order in which it is due."""

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from beckon.profile.v1.segment_service_pb2 import Segment
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.trigger.v1.region_service_pb2 import Region

from mesh import ids, tracing
from services.throttle.model import Channel, Consent
from services.trigger.convert.beginnings import ATTRIBUTE_CHANGED
from services.trigger.convert.events import named
from services.trigger.convert.schedules import REQUESTED, SCHEDULED
from services.trigger.model import (
    CampaignState,
    Conversion,
    Effects,
    Enrollment,
    EnrollmentState,
    Exit,
    History,
    Hold,
    InFlight,
    Key,
    Occurrence,
    Person,
    Plan,
    Presence,
    Refusal,
    Release,
    Telling,
    Trace,
    WaitOn,
)
from services.trigger.rules import (
    Ledger,
    Recipient,
    asks_for_events,
    begin,
    exception_types,
    judge_event,
    judge_release,
    named_by,
    next_planned,
    plan_for,
    regroup,
    stopped_meanwhile,
    unite,
    walk,
)
from services.trigger.rules.pacing import asks_for_slot, at_slot, interval_of
from services.trigger.rules.schedules import PLANNED_TIME
from simulator.catalogue import Catalogue
from simulator.crowds import Crowds
from simulator.gatekeeper import Gatekeeper
from simulator.memberships import Memberships
from simulator.passages import Passages
from simulator.people import People
from simulator.post import Answer, Post
from simulator.records import Goal, Kept, Message
from simulator.sending import Sending
from simulator.watches import watch_of_campaign, watch_of_segment
from simulator.windows import Windows
from simulator.workspace import Workspace

# More than any story has turns; beyond, campaigns begin each other for ever.
_STEPS_MAX = 100_000


class Due(NamedTuple):
    """Something that time brings."""

    time: datetime
    do: Callable[[], None]


class News(NamedTuple):
    """An event that follows from what happened."""

    type: str
    profile: str
    properties: Mapping[str, Any]
    event_id: str


class Engine:
    """One workspace on a virtual clock."""

    def __init__(self, begin_time: datetime, workspace: Workspace | None = None) -> None:
        """Begin at an instant, with nobody and nothing."""
        self.now = begin_time
        self.workspace = workspace or Workspace()
        self.people = People(self.workspace.name)
        self.gatekeeper = Gatekeeper(self.workspace.name)
        self.memberships = Memberships(self.people)
        self.crowds = Crowds(self.people, self.memberships)
        self.messages: list[Message] = []
        self.kept: list[Kept] = []
        self.goals: list[Goal] = []
        self._post = Post()
        self._sending = Sending(self.people, self.gatekeeper, self._tell, self._post, self.messages)
        self._passages = Passages()
        self._windows = Windows()
        self._catalogue = Catalogue(self.workspace)
        self._assigned: dict[Key, str] = {}
        self._presences: dict[tuple[str, str], Presence] = {}
        self._launched: dict[str, datetime] = {}
        self._planned: dict[str, datetime] = {}
        self._slots: dict[str, datetime] = {}
        # Once for each passage, by what it keeps when its person is united with another.
        self._reached_goals: set[tuple[UUID, str, str, str]] = set()
        self._history: list[Occurrence] = []
        self._news: deque[News] = deque()
        self._numbers = count(1)
        # Whether what recurs for ever goes on.
        self._recurs = True

    # What a scenario does.

    def put_campaign(self, campaign_id: str, campaign: Campaign, *, state: str = "active") -> None:
        """Create a campaign."""
        self._catalogue.put(campaign_id, campaign, state, self.now)
        self._in_force(campaign_id, state)

    def edit_campaign(self, campaign_id: str, campaign: Campaign, in_flight: InFlight) -> None:
        """Give a campaign another content."""
        self._catalogue.edit(campaign_id, campaign, in_flight, self.now)
        self._watch()
        self._settle_news()

    def move_campaign(self, campaign_id: str, state: str) -> None:
        """Launch, pause or archive a campaign."""
        self._catalogue.move(campaign_id, state)
        if state != CampaignState.PAUSED.value:
            self._wake(campaign_id, held_only=state == CampaignState.ACTIVE.value)
        self._in_force(campaign_id, state)

    def add_region(self, region_id: str, region: Region) -> None:
        """Draw a region."""
        self._catalogue.add_region(region_id, region, self.now)

    def add_segment(self, segment_id: str, segment: Segment) -> None:
        """Tell who is in a segment by its filter."""
        self.memberships.watch(watch_of_segment(segment_id, segment), self.now)

    def hear(
        self,
        type_: str,
        profile: str,
        properties: Mapping[str, Any] | None = None,
        *,
        event_id: str = "",
        occur_time: datetime | None = None,
    ) -> str:
        """Receive an event now; return why it was not taken ('': it was)."""
        news = News(type_, profile, properties or {}, event_id or self._id())
        why = self._hear(news, occur_time or self.now)
        self._settle_news()
        return why

    def write(self, profile: str, attributes: Mapping[str, Any]) -> str:
        """Write attributes as another service does; return why not ('': done)."""
        before = self.people.facts(profile)
        why = self.people.write(profile, attributes, self.now)
        self._look(profile, before)
        self._settle_news()
        return why

    def say(self, profile: str, channel: str, consent: str) -> None:
        """Let somebody subscribe or unsubscribe."""
        wanted = Channel[channel.upper()], Consent[consent.upper()]
        self.gatekeeper.say(profile, *wanted, self.now)

    def set_member(self, profile: str, segment: str, *, inside: bool) -> None:
        """Let somebody enter or leave a segment that no filter tells."""
        if self.memberships.state(segment, profile, inside=inside):
            type_ = "segment_entered" if inside else "segment_exited"
            self._tell(type_, profile, {"segment": segment}, self._id())
        self._settle_news()

    def ask(
        self, campaign_id: str, profile: str, properties: Mapping[str, Any], event_id: str
    ) -> None:
        """Begin a campaign for somebody, as callers of the API do."""
        plan = self._catalogue.plans.get(campaign_id)
        if plan is None:
            return
        event = self._occurrence(
            News(REQUESTED, profile, properties, event_id or self._id()), self.now
        )
        self._admit(plan, named(event, self.people.name_of(profile)), profile)
        self._settle_news()

    def unite(self, into: str, other: str) -> None:
        """Make two ids one person."""
        before = {
            member: self.people.name_of(one)
            for one in (into, other)
            for member in self.people.members_of(one)
        }
        facts = self.people.facts(into)
        members = self.people.unite(into, other)
        if not members:
            return
        profile = self.people.name_of(into)
        self.gatekeeper.unite(profile, members)
        self._windows.move(members, profile)
        moved = [
            one if one.key.profile == profile else self._passages.move(one, profile)
            for one in self._passages.of_people({*members})
        ]
        self._regroup([one for one in moved if one.digest_key is not None])
        for campaign in sorted({one.key.campaign for one in moved}):
            self._unite_in(campaign, [one for one in moved if one.key.campaign == campaign], before)
        self._look(profile, facts)
        self._settle_news()

    def set_provider(self, channel: str, answer: Answer) -> None:
        """Change how a channel's provider is; what waited for it goes out."""
        self._sending.set_provider(channel, answer, self.now)
        self._settle_news()

    def latest(self, campaign: str, profile: str) -> Message | None:
        """Return the latest message of a campaign to somebody."""
        name = self.people.name_of(profile)
        found = (one for one in reversed(self.messages) if one.campaign == campaign)
        return next((one for one in found if self.people.name_of(one.profile) == name), None)

    def passages(self) -> list[Enrollment]:
        """Return every passage as it stands."""
        return list(self._passages)

    # Time.

    def advance(self, until: datetime, *, inclusive: bool = True) -> None:
        """Let all happen that is due until then; it is that time afterwards."""
        for _ in range(_STEPS_MAX):
            due = self._next_due()
            if due is None or due.time > until or (due.time == until and not inclusive):
                break
            self.now = max(self.now, due.time)
            due.do()
            self._settle_news()
        else:
            message = f"more than {_STEPS_MAX:,} things are due before {until.isoformat()}"
            raise RuntimeError(message)
        self.now = max(self.now, until)

    def finish(self, until: datetime, *, recur: bool) -> None:
        """Let all happen that is left until then; `recur`: also what goes on for ever."""
        self._recurs = recur
        self.advance(until)

    def _next_due(self) -> Due | None:
        found: list[Due] = []
        waiting = self._passages.next_wake()
        if waiting is not None and waiting.wake_time is not None:
            found.append(Due(waiting.wake_time, lambda: self._fire(waiting)))
        letter = self._post.next_expiry()
        if letter is not None:
            expire_time = letter.passage.expire_time
            found.append(Due(expire_time, lambda: self._sending.expire(letter)))
        turning = self.memberships.next_look(self.now)
        if turning is not None:
            found.append(Due(turning[0], lambda: self._turn(turning[1])))
        found += self._broadcasts()
        return min(found, key=lambda one: one.time, default=None)

    # Events.

    def _id(self) -> str:
        return f"event-{next(self._numbers)}"

    def _tell(self, type_: str, profile: str, properties: Mapping[str, Any], event_id: str) -> None:
        self._news.append(News(type_, profile, properties, event_id))

    def _settle_news(self) -> None:
        """Hear of what follows from what happened, until nothing more does."""
        for _ in range(_STEPS_MAX):
            if not self._news:
                return
            self._hear(self._news.popleft(), self.now)
        message = "events follow from each other without end"
        raise RuntimeError(message)

    def _hear(self, news: News, occur_time: datetime) -> str:
        event = self._occurrence(news, occur_time)
        before = self.people.facts(news.profile)
        why = self.people.sees(event)
        if why:
            return why
        self._history.append(event)
        self._judge(named(event, self.people.name_of(news.profile)))
        self._look(news.profile, before)
        return ""

    def _occurrence(self, news: News, occur_time: datetime) -> Occurrence:
        uid = ids.event_uid(self.workspace.name, news.event_id)
        properties = dict(news.properties)
        return Occurrence(
            uid=uid,
            event_id=news.event_id,
            type=news.type,
            workspace=self.workspace.name,
            profile=news.profile,
            occur_time=occur_time,
            receive_time=self.now,
            properties=properties,
            properties_json=json.dumps(properties).encode(),
            trace=Trace(*tracing.trace_of("", uid)),
        )

    def _look(self, profile: str, before: Mapping[str, Any]) -> None:
        """Tell of what has become another of somebody."""
        for change in self.people.changed(before, profile):
            properties = {"attribute": change.key}
            if change.before is not None:
                properties["from"] = change.before
            if change.after is not None:
                properties["to"] = change.after
            self._tell(ATTRIBUTE_CHANGED, change.profile, properties, self._id())
        self._turn(self.people.name_of(profile))

    def _turn(self, profile: str) -> None:
        for turned in self.memberships.look([profile], self.now):
            type_ = turned.watch.begins if turned.holds else turned.watch.ends
            properties = {turned.watch.property: turned.watch.id}
            self._tell(type_, turned.profile, properties, self._id())

    # Judging.

    def _judge(self, event: Occurrence) -> None:
        walked = walk([event], self._presences, self._catalogue.places)
        self._presences |= walked.presences
        for one in (event, *walked.crossings.get(event.uid, ())):
            self._judge_one(one)

    def _judge_one(self, event: Occurrence) -> None:
        book = self._catalogue.book
        people = {event.profile: self._person(event.profile)}
        concerned = (*book.stopped_by(event), *book.aimed_at(event))
        keys = {plan.key(event.profile) for plan in concerned}
        for plan in (*book.begun_by(event), *book.undone_by(event)):
            for one in named_by(plan, event).ids:
                person = self._person(one) if plan.elsewhere else people[event.profile]
                people.setdefault(one, person)
                people.setdefault(person.profile, person)
                keys.add(plan.key(person.profile))
        ledger = self._ledger(keys, event)
        judge_event(ledger, book, event, people, now=self.now)
        self._carry_out(ledger.effects())

    def _admit(self, plan: Plan, event: Occurrence, used: str, seen: str = "") -> None:
        """Judge an event outside the log for one person, by the id that was used for her."""
        person = self._person(used)
        ledger = self._ledger([plan.key(person.profile)], event)
        recipient = Recipient(person.profile, used, seen or "of the audience")
        begin(ledger, plan, event, recipient, person, now=self.now)
        self._carry_out(ledger.effects())

    def _ledger(self, keys: Collection[Key], event: Occurrence) -> Ledger:
        known = self._passages.known(keys, event.uid, self.now)
        history = History(
            tuple(self._passages.of_keys(keys)),
            self._passages.entries(keys),
            {key: arm for key, arm in self._assigned.items() if key in keys},
        )
        last_entries = self._passages.last_entries(keys)
        return Ledger(known, last_entries, history, self._windows.records(keys))

    def _person(self, profile: str) -> Person:
        return self.people.person(profile, self.now)

    def _carry_out(self, effects: Effects) -> None:
        self._windows.put(effects.digests)
        for assignment in effects.assignments:
            self._assigned.setdefault(assignment.key, assignment.variant)
        for refusal in effects.refusals:
            self._refused(refusal)
        for passage in effects.enrollments:
            self._changed(passage)
        for conversion in effects.conversions:
            self._reached(conversion)
        for telling in effects.tellings:
            self._fan_out(telling)

    def _changed(self, passage: Enrollment) -> None:
        """Keep a passage, and do what its state asks for."""
        kept = self._passages.put(passage)
        match kept.state:
            case EnrollmentState.SENDING:
                self._send(kept)
            case EnrollmentState.CANCELING:
                after = self._passages.put(self._sending.cancel(kept, self.now))
                if after.state is EnrollmentState.EXITED:
                    self._ended(after)
            case EnrollmentState.EXITED:
                self._ended(kept)
            case _:
                pass

    def _send(self, passage: Enrollment) -> None:
        plan = self._catalogue.plans.get(passage.key.campaign)
        digest = None if plan is None else self._windows.told(plan, passage)
        person = self._person(passage.origin)
        after = self._passages.put(self._sending.send(passage, person, digest, self.now))
        if after.state is EnrollmentState.EXITED:
            self._ended(after)

    def _fire(self, passage: Enrollment) -> None:
        """Judge a passage whose time has come."""
        plan = self._catalogue.plans.get(passage.key.campaign)
        person = self._person(passage.origin)
        window = self._windows.summary(passage)
        verdict = judge_release(plan, passage, person, now=self.now, window=window)
        if plan is not None and isinstance(verdict, Release | WaitOn):
            missed = self._missed(plan, passage, person)
            verdict = stopped_meanwhile(plan, passage, missed, person, now=self.now) or verdict
        match verdict:
            case Release(after):
                self._changed(self._paced(plan, passage, after))
            case WaitOn(after):
                self._changed(after)
            case Hold():
                self._passages.put(replace(passage, wake_time=None))
            case Exit(gates):
                self._changed(replace(passage, state=EnrollmentState.EXITED, gates=gates))

    def _paced(self, plan: Plan | None, before: Enrollment, released: Enrollment) -> Enrollment:
        """Return the passage with its slot, where its campaign may only send so many a minute."""
        if plan is None or not asks_for_slot(plan, before, now=self.now):
            return released
        last = self._slots.get(plan.campaign)
        slot = self.now if last is None else max(self.now, last + interval_of(plan))
        self._slots[plan.campaign] = slot
        return at_slot(before, released, slot, self.now)

    def _missed(self, plan: Plan, passage: Enrollment, person: Person) -> list[Occurrence]:
        if not asks_for_events(plan, passage, person):
            return []
        types = {rule.event_type for rule in plan_for(plan, passage).exceptions}
        return self._events_of(person.profile, types, passage.event.occur_time)

    def _events_of(self, profile: str, types: Collection[str], since: datetime) -> list[Occurrence]:
        found = [
            named(one, profile)
            for one in self._history
            if one.type in types
            and one.occur_time >= since
            and self.people.name_of(one.profile) == profile
        ]
        return sorted(found, key=lambda one: one.occur_time)

    # Campaigns.

    def _in_force(self, campaign_id: str, state: str) -> None:
        """See to what a campaign needs in its new state."""
        self._watch()
        if state == CampaignState.ACTIVE.value:
            first = campaign_id not in self._launched
            self._launched.setdefault(campaign_id, self.now)
            plan = self._catalogue.plans[campaign_id]
            if first and plan.date is not None:
                self._plan_dates(plan, plan.date.attribute)
        self._settle_news()

    def _watch(self) -> None:
        """Watch the conditions that campaigns begin with, and no others."""
        watches = [watch_of_campaign(*one) for one in self._catalogue.contents()]
        wanted = {watch.id: watch for watch in watches if watch is not None}
        self.memberships.forget(lambda one: one.property == "segment" or one.id in wanted)
        for watch in wanted.values():
            self.memberships.watch(watch, self.now)

    def _plan_dates(self, plan: Plan, attribute: str) -> None:
        """Begin with the date of everybody who has one."""
        for profile in self.people.ids:
            value = self.people.facts(profile).get(attribute)
            if value is None:
                continue
            news = News(
                ATTRIBUTE_CHANGED, profile, {"attribute": attribute, "to": value}, self._id()
            )
            event = self._occurrence(news, self.now)
            self._admit(plan, event, profile, "the event's own profile")

    def _wake(self, campaign_id: str, *, held_only: bool) -> None:
        """Let those go on who are held in a campaign; of one that is over, all."""
        for one in list(self._passages):
            if one.key.campaign != campaign_id or one.state is not EnrollmentState.WAITING:
                continue
            if one.wake_time is None:
                self._passages.put(replace(one, wake_time=max(one.due_time, self.now)))
            elif not held_only and one.wake_time > self.now:
                self._passages.put(replace(one, wake_time=self.now))

    # Crowds.

    def _broadcasts(self) -> Iterable[Due]:
        """Return when the schedules of campaigns come next."""
        for campaign_id, plan in self._catalogue.plans.items():
            launched = self._launched.get(campaign_id)
            if plan.schedule is None or launched is None:
                continue
            after = self._planned.get(campaign_id)
            if plan.schedule.again is not None and not self._recurs:
                continue
            planned = next_planned(plan, launched=launched, after=after)
            if planned is not None:
                yield Due(
                    planned.start_time,
                    self._broadcasting(plan, planned.start_time, planned.civil),
                )

    def _broadcasting(self, plan: Plan, start: datetime, civil: str) -> Callable[[], None]:
        def go_out() -> None:
            self._planned[plan.campaign] = start
            properties = {PLANNED_TIME: civil} if civil else {}
            event_id = f"{plan.campaign}@{civil or start.isoformat()}"
            for person in list(self.crowds.audience(plan, self.now)):
                news = News(SCHEDULED, person.profile, properties, event_id)
                event = replace(self._occurrence(news, start), receive_time=start)
                self._admit(plan, event, person.profile)

        return go_out

    def _fan_out(self, telling: Telling) -> None:
        plan = self._catalogue.plans.get(telling.campaign)
        if plan is None:
            return
        for used, person in list(self.crowds.related(plan, telling.event.profile, self.now)):
            if person.profile != telling.event.profile or plan.include_actor:
                seen = f"related to {telling.event.profile}"
                self._admit(plan, telling.event, used, seen)

    # People.

    def _unite_in(
        self, campaign: str, passages: Collection[Enrollment], before: Mapping[str, str]
    ) -> None:
        plan = self._catalogue.plans.get(campaign)
        if plan is None:
            return
        profile = next(iter(passages)).key.profile
        arm = self._unite_arms(plan.key(profile), before)
        # Windows are regrouped instead.
        alone = [one for one in passages if one.digest_key is None]
        if not alone:
            return
        since = min(one.event.occur_time for one in alone)
        united = unite(
            plan,
            alone,
            self._events_of(profile, exception_types(plan), since),
            self._person(profile),
            before={one: name for one, name in before.items() if one != name},
            arm=arm,
            now=self.now,
        )
        for refusal in united.refusals:
            found = self._passages.get(refusal.key, refusal.event.uid)
            if found is not None:
                self._passages.remove(found)
            self._refused(refusal)
        for passage in united.passages:
            self._changed(passage)

    def _regroup(self, windows: Collection[Enrollment]) -> None:
        """Give a person who gathers by several windows of a key one of them."""
        gathering = [
            one
            for one in windows
            if one.state is EnrollmentState.WAITING and one.release_time is None
        ]
        held = [(item, one) for one in gathering for item in self._windows.items_of(one)]
        regrouped = regroup(gathering, held, now=self.now)
        self._windows.hold(regrouped.items)
        for window in regrouped.windows:
            self._changed(window)

    def _unite_arms(self, key: Key, before: Mapping[str, str]) -> str:
        """Return the arm that was given to any of the people first."""
        keys = {key._replace(profile=name) for name in before.values()}
        # In the order in which they were given.
        given = [arm for known, arm in self._assigned.items() if known in keys]
        for known in keys:
            self._assigned.pop(known, None)
        if given:
            self._assigned[key] = given[0]
        return given[0] if given else ""

    # What came of it.

    def _reached(self, conversion: Conversion) -> None:
        passage = self._passages.get(conversion.key, conversion.event_uid)
        assert passage is not None, "a goal is reached by a passage"
        reached = passage.event.uid, passage.origin, conversion.key.campaign, conversion.goal
        if reached in self._reached_goals:
            return
        self._reached_goals.add(reached)
        goal = Goal(
            time=conversion.time,
            profile=conversion.key.profile,
            campaign=conversion.key.campaign,
            variant=passage.variant,
            event=passage.event.event_id,
            goal=conversion.goal,
            value=conversion.value,
        )
        self.goals.append(goal)

    def _refused(self, refusal: Refusal) -> None:
        self._keep(refusal.key, refusal.event.event_id, refusal.gates, entered=False)

    def _ended(self, passage: Enrollment) -> None:
        self._keep(passage.key, passage.event.event_id, passage.gates, entered=True)

    def _keep(self, key: Key, event_id: str, gates: tuple[Any, ...], *, entered: bool) -> None:
        kept = Kept(
            time=self.now,
            profile=key.profile,
            campaign=key.campaign,
            event=event_id,
            gates=gates,
            entered=entered,
        )
        self.kept.append(kept)
