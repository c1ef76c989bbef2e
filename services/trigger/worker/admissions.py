"""Begins passages outside the log: of a broadcast, of a backfill, of what a caller asks for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.clock import Clock
from mesh.errors import Aborted, FailedPrecondition
from mesh.names import format_name
from mesh.postgres import Connection
from services.trigger.convert.events import named
from services.trigger.model import (
    Admitted,
    CampaignState,
    Candidate,
    Gate,
    Identity,
    Key,
    Plan,
    RecipientKind,
)
from services.trigger.rules import Ledger, Recipient, ask_of_entry, ask_of_gathering, begin
from services.trigger.store import CatalogueChanged, Conflict, Known, TurnStore, refusals_of
from services.trigger.worker.batch import Judged
from services.trigger.worker.catalogue import Catalogues
from services.trigger.worker.concerns import Concerns, under
from services.trigger.worker.identities import Identities
from services.trigger.worker.judging import before_of
from services.trigger.worker.outcomes import Outcomes

# Somebody changes campaigns or passages faster than we judge: the caller tries again.
_ATTEMPTS_MAX = 20

_Name = tuple[Key, UUID]

Beside = Callable[[Connection], Awaitable[None]]
"""Writes something in the transaction that begins the passages."""


class Admissions:
    """Judges candidates by the rules that events are judged by, and commits what comes of it.

    Each event begins at most one passage of a campaign and person, however often it is admitted:
    a repeat reports what there was.
    """

    def __init__(
        self,
        *,
        store: TurnStore,
        catalogues: Catalogues,
        identities: Identities,
        outcomes: Outcomes,
        clock: Clock,
        lease: timedelta,
    ) -> None:
        """Take what is needed; `outcomes` hands on what was released and what waits."""
        self._store = store
        self._catalogues = catalogues
        self._identities = identities
        self._outcomes = outcomes
        self._clock = clock
        self._lease = lease

    async def admit(
        self,
        workspace: str,
        campaign: str,
        candidates: Sequence[Candidate],
        *,
        broadcast: UUID | None = None,
        active: bool = False,
        beside: Beside | None = None,
    ) -> list[Admitted]:
        """Judge and commit; return what came of each, in order.

        Args:
            workspace: of the campaign.
            campaign: its id; active or paused.
            candidates: at most some hundreds: one transaction.
            broadcast: to which the passages belong.
            active: begin nobody while the campaign is paused, rather than refuse everybody.
            beside: is called in the transaction, after all else. Also with no candidates.

        Raises:
            FailedPrecondition: The campaign is not in force.
            Aborted: Others change the same passages faster; nothing was written.
        """
        for _ in range(_ATTEMPTS_MAX):
            plan, version = await self._plan(workspace, campaign)
            if active and plan.state is not CampaignState.ACTIVE:
                raise _not_in_force(workspace, campaign)
            now = self._clock.now()
            some, known, concerns = await self._know(plan, candidates, now)
            refused = await self._refused(plan, some)
            ledger = Ledger(known.passages, known.last_entries, known.history, known.digests)
            for one in some:
                if (plan.key(one.person.profile), one.event.uid) not in refused:
                    begin(
                        ledger,
                        plan,
                        one.event,
                        _recipient(plan, one),
                        one.person,
                        now=now,
                        broadcast=broadcast,
                    )
            judged = _judged(ledger, some, known, concerns, plan)
            try:
                await self._commit(judged, version, beside)
            except CatalogueChanged:
                await self._catalogues.reload()
            except Conflict:
                continue
            else:
                self._outcomes.tell(judged)
                return _admitted(plan, some, ledger, refused, known)
        raise Aborted(
            ErrorReason.ERROR_REASON_CONFLICT, "passages change faster than they are admitted"
        )

    async def _plan(self, workspace: str, campaign: str) -> tuple[Plan, int]:
        catalogue = self._catalogues.current
        plan = catalogue.plans.get((workspace, campaign))
        if plan is None:
            # It may have been launched a moment ago.
            catalogue = await self._catalogues.reload()
            plan = catalogue.plans.get((workspace, campaign))
        if plan is None:
            raise _not_in_force(workspace, campaign)
        return plan, catalogue.version

    async def _know(
        self, plan: Plan, candidates: Sequence[Candidate], now: datetime
    ) -> tuple[list[Candidate], Known, Concerns]:
        """Return everybody under the id that passages are under, and what the store knows."""
        tried: set[Identity] = set()
        some = list(candidates)
        while True:
            concerns = Concerns(set(), set(), {})
            for one in some:
                concerns.keys.add(plan.key(one.person.profile))
                concerns.ask(plan.workspace, one.named, one.person)
                ask_of_entry(concerns.history, plan, one.event, plan.key(one.person.profile))
                key = plan.key(one.person.profile)
                ask_of_gathering(concerns.digests, plan, one.event, key)
            concerns.guarded.update(concerns.keys)
            known = await self._store.know(
                concerns.keys,
                concerns.asked,
                {one.event.uid for one in some},
                (),
                history=concerns.history,
                digests=concerns.digests,
                now=now,
            )
            unheard = {
                Identity(workspace, united[0], united[1:], 0)
                for (workspace, used), united in concerns.asked.items()
                if united and (workspace, used) not in known.identities
            } - tried
            if unheard:
                # Profile has united them, the log has not told yet: do not wait for it.
                tried |= unheard
                for identity in unheard:
                    await self._identities.set(identity)
                continue
            after = [_renamed(plan, one, known) for one in some]
            if after == some:
                return some, known, concerns
            some = after

    async def _refused(
        self, plan: Plan, some: Sequence[Candidate]
    ) -> dict[_Name, tuple[Gate, ...]]:
        asked = {(plan.key(one.person.profile), one.event.uid) for one in some}
        async with self._store.database.connection() as connection:
            return dict(await refusals_of(connection, asked))

    async def _commit(self, judged: Judged, version: int, beside: Beside | None) -> None:
        await self._store.commit(
            {},
            judged.effects,
            catalogue_version=version,
            lease_until=self._clock.now() + self._lease,
            turns={},
            guarded=judged.guarded,
            once={(one.key, one.event.uid) for one in judged.effects.refusals},
            beside=beside,
        )


def _not_in_force(workspace: str, campaign: str) -> FailedPrecondition:
    name = format_name(workspace, "campaigns", campaign)
    return FailedPrecondition(
        ErrorReason.ERROR_REASON_STATE_FORBIDS,
        f"{name} is not in force",
        metadata={"resourceName": name},
    )


def _renamed(plan: Plan, one: Candidate, known: Known) -> Candidate:
    used = one.named or one.person.profile
    person = under(one.person, known.identities, (plan.workspace, used))
    if person is one.person:
        return one
    event = one.event
    if event.profile in (used, one.person.profile):
        event = named(event, person.profile)
    return Candidate(event, person, used)


def _recipient(plan: Plan, one: Candidate) -> Recipient:
    seen = {
        RecipientKind.RELATION: f"related to {one.event.profile}",
        RecipientKind.AUDIENCE: "of the audience",
    }.get(plan.recipient, "the event's own profile")
    return Recipient(one.person.profile, one.named or one.person.profile, seen)


def _judged(
    ledger: Ledger, some: Sequence[Candidate], known: Known, concerns: Concerns, plan: Plan
) -> Judged:
    people = {(plan.key(one.person.profile), one.event.uid): one.person for one in some}
    return Judged(ledger.effects(), people, before_of(known, concerns.guarded), {})


def _admitted(
    plan: Plan,
    some: Sequence[Candidate],
    ledger: Ledger,
    refused: Mapping[_Name, tuple[Gate, ...]],
    known: Known,
) -> list[Admitted]:
    """Return what came of each candidate, by what the ledger has written of them."""
    before = {(one.key, one.event.uid) for one in known.passages}
    before |= {(one.key, one.event.uid) for one in known.digests.items}
    now_refused = {(one.key, one.event.uid): one.gates for one in ledger.effects().refusals}
    admitted: list[Admitted] = []
    for one in some:
        key = plan.key(one.person.profile)
        name = key, one.event.uid
        gates = refused.get(name) or now_refused.get(name)
        if gates is not None:
            again = name in refused
            admitted.append(Admitted(key.profile, entered=False, gates=gates, again=again))
            continue
        passages = (found for found in ledger.passages(key) if found.event.uid == one.event.uid)
        passage = next(passages, None)
        gates = passage.gates if passage is not None else ()
        admitted.append(Admitted(key.profile, entered=True, gates=gates, again=name in before))
    return admitted
