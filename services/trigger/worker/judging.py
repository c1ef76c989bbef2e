"""Judges the events of a batch: gathers whom they concern, then lets the rules say."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from mesh.clock import Clock
from services.trigger.clients import Profile
from services.trigger.model import Effects, Identity, Key, Person
from services.trigger.rules import Ledger, Walk, judge_event
from services.trigger.store import Before, Known, TurnStore
from services.trigger.worker import aside
from services.trigger.worker.batch import Batch, Item, Judged
from services.trigger.worker.catalogue import Catalogue
from services.trigger.worker.concerns import (
    Concerns,
    Someone,
    concerns_of,
    people_around,
    recipients_of,
    renamed,
)
from services.trigger.worker.following import follow, with_crossings
from services.trigger.worker.identities import Identities


class Judging:
    """Judges, and writes nothing but what it learns of who is who."""

    def __init__(self, *, profile: Profile, identities: Identities, clock: Clock) -> None:
        """Take what knows the people."""
        self._profile = profile
        self._identities = identities
        self._clock = clock

    async def judge(
        self,
        batch: Batch,
        items: list[Item],
        catalogue: Catalogue,
        store: TurnStore,
        *,
        thorough: bool,
    ) -> tuple[Judged, list[Item]]:
        """Gather all that is to be known, then judge every event in the order of the log.

        Return what came of it, and the events that were judged: others are put aside.
        """
        now = self._clock.now()
        while True:
            if not items:
                return Judged(Effects(), {}, {}, {}), items
            items, people, concerns, known, walked = await self._know(
                items, catalogue, store, thorough=thorough, now=now
            )
            ledger = Ledger(known.passages, known.last_entries, known.history, known.digests)
            heard = with_crossings(items, walked)
            around_of: dict[UUID, dict[str, Person]] = {}
            failed: Item | None = None
            for item in heard:
                event = item.occurrence
                book = catalogue.book(event.workspace)
                around = people_around(item, people, book)
                try:
                    judge_event(ledger, book, event, around, now=now)
                except Exception as failure:  # noqa: BLE001 — one event must not stop its partition
                    aside.failed(batch, item.record, item.event, failure, item.partition, now=now)
                    failed = item
                    break
                around_of[event.uid] = around
            if failed is None:
                break
            # What it may have changed halfway is forgotten: all others are judged anew.
            items = [item for item in items if item.event is not failed.event]
        effects = replace(ledger.effects(), presences=tuple(walked.presences.values()))
        concerned = {
            (passage.key, passage.event.uid): around_of[passage.event.uid][passage.key.profile]
            for passage in effects.enrollments
            if not passage.revision
        }
        guarded = before_of(known, concerns.guarded)
        return Judged(effects, concerned, guarded, known.turns, heard, walked.unreadable), items

    async def _know(
        self,
        items: list[Item],
        catalogue: Catalogue,
        store: TurnStore,
        *,
        thorough: bool,
        now: datetime,
    ) -> tuple[list[Item], dict[Someone, Person], Concerns, Known, Walk]:
        """Return what judging is to know, with everybody under the id that passages are under.

        How somebody stands may be older or newer than what the log has told of people: what
        passages follow is what counts here, so that no two turns know one person by two names.
        """
        tried: set[Identity] = set()
        people: dict[Someone, Person] = {}
        while True:
            walked = await follow(items, catalogue, store)
            heard = with_crossings(items, walked)
            unknown = recipients_of(heard, catalogue) - people.keys()
            if unknown:
                people = people | await self._profile.people(sorted(unknown))
            concerns = concerns_of(heard, people, catalogue, thorough=thorough)
            if not concerns.keys and not walked.presences:
                return items, people, concerns, Known((), {}, {}), walked
            asked = concerns.asked
            known = await store.know(
                concerns.keys,
                asked,
                [item.occurrence.uid for item in heard],
                {item.partition for item in items},
                history=concerns.history,
                digests=concerns.digests,
                now=now,
            )
            unheard = {
                Identity(one[0], united[0], united[1:], 0)
                for one, united in asked.items()
                if united and one not in known.identities
            } - tried
            if unheard:
                # Profile has united them, the log has not told yet: do not wait for it.
                tried |= unheard
                for identity in unheard:
                    await self._identities.set(identity)
                continue
            if not known.identities:
                return items, people, concerns, known, walked
            before = items, people
            items, people = renamed(items, people, known.identities)
            if items is before[0] and people is before[1]:
                return items, people, concerns.guarding(known.identities), known, walked


def before_of(known: Known, guarded: Iterable[Key]) -> dict[Key, Before]:
    """Return what is known of guarded keys, for the commit to compare."""
    uids: dict[Key, set[UUID]] = {key: set() for key in guarded}
    for passage in known.passages if uids else ():
        if passage.key in uids:
            uids[passage.key].add(passage.event.uid)
    return {
        key: Before(
            known.last_entries.get(key),
            frozenset(uids[key]),
            known.identities.get((key.workspace, key.profile), key.profile),
        )
        for key in uids
    }
