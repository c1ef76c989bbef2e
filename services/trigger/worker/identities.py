"""Lets passages follow the people: united, parted, erased."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import Aborted
from services.trigger.clients import EventQuery, Profile
from services.trigger.convert.identities import (
    notice_of_identity,
    notice_of_removal,
    notices_of_erasure,
)
from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    Erasure,
    Identity,
    IdentityChange,
    Occurrence,
    Person,
    Plan,
)
from services.trigger.rules import United, exception_types, left_unnoticed, unite
from services.trigger.store import Conflict, Gathered, IdentityStore, Owed
from services.trigger.worker.catalogue import Catalogues

log = structlog.get_logger(__name__)

# Others change what waits faster than we judge: somebody else tries again.
_ATTEMPTS_MAX = 20


class Identities:
    """Carries out what the log tells of people; each change may be told any number of times."""

    def __init__(
        self,
        *,
        store: IdentityStore,
        profile: Profile,
        catalogues: Catalogues,
        clock: Clock,
        lease: timedelta,
        expect: Callable[[Enrollment], None],
        owe: Callable[[], None],
        drop: Callable[[Erasure], None],
    ) -> None:
        """Take what is needed.

        Args:
            store: what is kept of people.
            profile: knows what they did.
            catalogues: the campaigns.
            clock: tells the time.
            lease: for how long a send may be on its way in some worker.
            expect: hears of passages that wait.
            owe: hears that there is something to be told to others.
            drop: lets go of what is on its way for people who are erased.
        """
        self._store = store
        self._profile = profile
        self._catalogues = catalogues
        self._clock = clock
        self._lease = lease
        self._expect = expect
        self._owe = owe
        self._drop = drop

    async def follow(self, change: IdentityChange) -> None:
        """Carry out a change of people."""
        match change:
            case Identity():
                await self.set(change)
            case Erasure():
                await self.erase(change)

    async def set(self, identity: Identity, *, tell: bool = True) -> None:
        """Give all that was begun under some ids to one person, judged as if always so."""
        for _ in range(_ATTEMPTS_MAX):
            now = self._clock.now()
            gathered = await self._store.gather(identity, now=now)
            if gathered is None or (tell and _is_done(identity, gathered)):
                return
            united = await self._judge(identity, gathered)
            # What was read off a standing is told to others when the log tells it.
            told = tell and identity.version
            owed: list[Owed] = [(notice_of_identity(identity), now)] if told else []
            try:
                await self._store.commit(identity, gathered, united, owed, now=now)
            except Conflict:
                continue
            self._follow_up(identity, gathered, united)
            return
        raise _too_fast()

    async def overrule(self, identity: Identity) -> None:
        """Set who is one person as profile has it, whatever the log has told."""
        version = await self._store.version(identity)
        await self.set(replace(identity, version=version), tell=False)

    async def erase(self, erasure: Erasure) -> None:
        """Forget people, and have the others forget them."""
        self._drop(erasure)
        for _ in range(_ATTEMPTS_MAX):
            with suppress(Conflict):
                await self._erase(erasure)
                metrics.IDENTITY_CHANGES.labels(change="erased").inc()
                self._owe()
                return
        raise _too_fast()

    async def _erase(self, erasure: Erasure) -> None:
        now = self._clock.now()

        def owe(counts: Mapping[str, int], owed: int) -> list[Owed]:
            removal = notice_of_removal(erasure.workspace, erasure.erasure, "trigger", counts)
            # It may reach them yet: the others forget when that must be over.
            then = now + self._lease if owed else now
            return [(removal, now), *((one, then) for one in notices_of_erasure(erasure))]

        await self._store.erase(erasure, owe, now=now)

    async def _judge(self, identity: Identity, gathered: Gathered) -> list[United]:
        """Return what becomes of what is under way, campaign by campaign."""
        if not gathered.passages or not gathered.news:
            return []
        catalogue = self._catalogues.current
        if not catalogue.version:
            catalogue = await self._catalogues.reload()
        by_campaign: dict[str, list[Enrollment]] = defaultdict(list)
        for passage in gathered.passages:
            # Windows are regrouped as they are moved.
            if passage.digest_key is None:
                by_campaign[passage.key.campaign].append(passage)
        plans = [
            plan
            for campaign in by_campaign
            if (plan := catalogue.plans.get((identity.workspace, campaign))) is not None
        ]
        if not plans:
            return []
        someone = (identity.workspace, identity.profile)
        person = (await self._profile.people([someone]))[someone]
        events = await self._events(identity, plans, gathered)
        places = catalogue.places.get(identity.workspace)
        if places is not None:
            trace = gathered.passages[0].event.trace
            events += left_unnoticed(gathered.presences, identity.profile, places.names, trace)
        return [
            self._judge_one(plan, by_campaign[plan.campaign], events, person, gathered)
            for plan in plans
        ]

    def _judge_one(
        self,
        plan: Plan,
        passages: Sequence[Enrollment],
        events: Sequence[Occurrence],
        person: Person,
        gathered: Gathered,
    ) -> United:
        types = exception_types(plan)
        since = min(one.event.occur_time for one in passages)
        return unite(
            plan,
            passages,
            [one for one in events if one.type in types and one.occur_time >= since],
            person,
            entries=[
                (origin, at, value)
                for name, origin, at, value in gathered.entries
                if name == plan.campaign
            ],
            arm=gathered.assigned.get(plan.campaign, ""),
            before={member: profile for member, (profile, _) in gathered.known.items()},
            now=self._clock.now(),
        )

    async def _events(
        self, identity: Identity, plans: Sequence[Plan], gathered: Gathered
    ) -> list[Occurrence]:
        """Return what the person did since the first trigger that would have been an exception."""
        types = frozenset(type_ for plan in plans for type_ in exception_types(plan))
        if not types:
            return []
        since = min(one.event.occur_time for one in gathered.passages)
        query = EventQuery(identity.workspace, identity.profile, types, since)
        [found] = await self._profile.events([query])
        # Who else has joined her by now is told by a change of its own.
        return [one for one in found if (one.member or one.profile) in gathered.members]

    def _follow_up(self, identity: Identity, gathered: Gathered, united: Sequence[United]) -> None:
        if gathered.moves(identity.profile):
            change = "united" if gathered.news else "parted"
            metrics.IDENTITY_CHANGES.labels(change=change).inc()
        for one in united:
            for passage in one.passages:
                if passage.state is EnrollmentState.WAITING:
                    self._expect(passage)
        self._owe()


def _too_fast() -> Aborted:
    return Aborted(ErrorReason.ERROR_REASON_CONFLICT, "passages change faster than people")


def _is_done(identity: Identity, gathered: Gathered) -> bool:
    """Say whether this was carried out before, or is older than all that is known.

    Each commit about people makes the turns that know them judge again. A turn whose commit fails
    is told everything anew: done anew, two lanes would make each other fail for ever.
    """
    done = identity.profile, identity.version
    return all(gathered.known.get(one) == done for one in gathered.members) and all(
        key.profile == identity.profile for key, _ in gathered.revisions
    )
