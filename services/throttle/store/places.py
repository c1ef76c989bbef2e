"""The places that sends take, one hash a person in Redis, changed by scripts only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from struct import Struct
from typing import Any, Final, Protocol, TypeAlias

from redis import exceptions

from mesh.ids import shard_of, shards_of
from mesh.redis import Redis, Script, translated
from services.throttle.model import (
    Breach,
    Channel,
    Filling,
    Limit,
    Micros,
    Outcome,
    Place,
    Send,
    Settlement,
)
from services.throttle.rules import KEPT, place_for, span_us

# A script holds the server: so many persons take it a few milliseconds.
PERSONS_MAX: Final = 250
# Places that are copied in one script.
_ABSORBED_MAX: Final = 1000

_FOLDER = Path(__file__).parent

_HEADER = Struct("<ddH")
_LIMIT = Struct("<IIdd")
# Plan, then send id, then the place as it is stored: state, channel, time, lease.
_SEND = Struct("<H16scBdd")
_PLACE = Struct("<cBdd")
_SETTLEMENT = Struct("<c16s")
_OUTCOMES = {Outcome.COMMITTED: b"C", Outcome.RELEASED: b"R"}
_KEPT_US = span_us(KEPT)
_FOREVER = float("inf")

_Group: TypeAlias = list[tuple[bytes, list[int]]]


_LEFT = -1
_MARK = b"moved"


class Moved(Exception):
    """The places of somebody are counted under another id by now: ask again under which."""


class _OfPerson(Protocol):
    @property
    def workspace(self) -> str: ...
    @property
    def profile_id(self) -> str: ...


class Places:
    """Takes, keeps and frees places, exactly under any concurrency.

    All that is asked of one person is asked in one script. A script takes many
    persons; with `by_shard` those of one shard only, whose keys share a hash slot
    of Redis Cluster. All scripts of a call go out in one pipeline.
    """

    def __init__(self, client: Redis, *, by_shard: bool = False) -> None:
        """Take a client of a server that keeps what it acknowledged."""
        self._client = client
        self._by_shard = by_shard
        self._reserve = Script.from_file(_FOLDER / "reserve.lua")
        self._settle = Script.from_file(_FOLDER / "settle.lua")
        self._leave = Script.from_file(_FOLDER / "leave.lua")
        self._absorb = Script.from_file(_FOLDER / "absorb.lua")

    async def reserve(
        self, sends: Sequence[Send], limits: Sequence[tuple[Limit, ...]], now_us: Micros
    ) -> list[list[Breach]]:
        """Take places for the sends that keep their limits; return what the others breach.

        Safe to repeat: a send that holds a place breaches nothing.

        Raises:
            Moved: Somebody goes by another id since; the others have their places.
        """
        # By identity: sends with the same limits share the tuple, and hashing it costs
        # more than all the rest.
        plans = {id(plan): plan for plan in limits}
        numbers = {plan: number for number, plan in enumerate(plans, 1)}
        asked = [
            _packed(place_for(send, now_us), numbers[id(plan)])
            for send, plan in zip(sends, limits, strict=True)
        ]
        groups = self._groups(sends)
        answers = await self._run(self._reserve, groups, asked, [_header(plans.values(), now_us)])
        found: list[list[Breach]] = [[] for _ in sends]
        for group, answer in zip(groups, answers, strict=True):
            if not any(answer):
                continue
            indexes = [index for _, of_person in group for index in of_person]
            for index, raw in zip(indexes, answer, strict=True):
                if raw == _LEFT:
                    raise Moved
                if raw:
                    found[index] = [_breach(each, limits[index]) for each in raw]
        return found

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Keep or free the places of ended sends; one without a place is left alone.

        Return those of people some of whose places may be under another id.
        """
        ended = [_SETTLEMENT.pack(_OUTCOMES[one.outcome], one.send_id) for one in settlements]
        groups = self._groups(settlements)
        answers = await self._run(self._settle, groups, ended, [])
        return [
            settlements[index]
            for group, numbers in zip(groups, answers, strict=True)
            for number in numbers
            for index in group[number - 1][1]
        ]

    async def unite(self, workspace: str, profile_id: str, sources: Mapping[str, bool]) -> None:
        """Count the places of other ids for a person too; True: they are counted there only.

        Safe to repeat. Nothing that is reserved or settled at the same time is lost: an id that
        was left takes no place any more, and what was settled while it was copied is copied again.
        """
        key = _key(workspace, profile_id)
        # First it may take places itself: it may have been left before.
        await self._absorb(self._client, [key])
        for _ in range(2):
            for source, left in sources.items():
                if left:
                    raw = await self._leave(self._client, [_key(workspace, source)])
                    places = _without_mark(raw)
                else:
                    places = await self._all(_key(workspace, source))
                for start in range(0, len(places), _ABSORBED_MAX):
                    await self._absorb(self._client, [key], places[start : start + _ABSORBED_MAX])

    async def of(self, workspace: str, profile_id: str) -> list[Place]:
        """Return the places of a person, of whom nothing is changed."""
        raw = await self._all(_key(workspace, profile_id))
        return [_place(id_, packed) for id_, packed in zip(raw[::2], raw[1::2], strict=True)]

    async def count(self, people: Sequence[tuple[str, str]]) -> int:
        """Return how many sends have places of (workspace, id), each counted once."""
        sends: set[bytes] = set()
        for one in people:
            sends.update((await self._all(_key(*one)))[::2])
        return len(sends)

    async def erase(self, people: Sequence[tuple[str, str]]) -> None:
        """Remove all places of (workspace, id)."""
        for one in people:
            with translated():
                await self._client.execute_command("DEL", _key(*one))

    async def _all(self, key: bytes) -> list[bytes]:
        """Return send ids and places of a key in turn."""
        with translated():
            held: dict[bytes, bytes] = await self._client.execute_command("HGETALL", key)
        return _without_mark([each for pair in held.items() for each in pair])

    def _groups(self, items: Sequence[_OfPerson]) -> list[_Group]:
        """Return the persons' keys with the indexes of their items, script by script."""
        persons: dict[str, dict[str, list[int]]] = {}
        for index, item in enumerate(items):
            persons.setdefault(item.workspace, {}).setdefault(item.profile_id, []).append(index)
        by_shard: dict[str, _Group] = {}
        for workspace, indexes in persons.items():
            for shard, (profile_id, of_person) in zip(
                shards_of(workspace, indexes), indexes.items(), strict=True
            ):
                tag = _tag(workspace, shard)
                key = f"beckon:caps:{tag}:{profile_id}".encode()
                by_shard.setdefault(tag if self._by_shard else "", []).append((key, of_person))
        return [
            group[start : start + PERSONS_MAX]
            for group in by_shard.values()
            for start in range(0, len(group), PERSONS_MAX)
        ]

    async def _run(
        self,
        script: Script,
        groups: Sequence[_Group],
        items: Sequence[bytes],
        header: Sequence[bytes],
    ) -> list[Any]:
        calls = [
            (
                [key for key, _ in group],
                [*header, *(b"".join([items[i] for i in indexes]) for _, indexes in group)],
            )
            for group in groups
        ]
        if len(calls) == 1:
            return [await script(self._client, *calls[0])]
        with translated():
            answers = await self._pipelined(script, calls)
            if any(isinstance(answer, exceptions.NoScriptError) for answer in answers):
                # A server that restarted has forgotten it. All may run again: each
                # script says of what it did before that it is done.
                await script.load(self._client)
                answers = await self._pipelined(script, calls)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    async def _pipelined(
        self, script: Script, calls: Iterable[tuple[list[bytes], list[bytes]]]
    ) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for keys, args in calls:
                pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers


def _tag(workspace: str, shard: int) -> str:
    # What Redis Cluster finds the slot by.
    return f"{{{workspace}:{shard}}}"


def _key(workspace: str, profile_id: str) -> bytes:
    tag = _tag(workspace, shard_of(workspace, profile_id))
    return f"beckon:caps:{tag}:{profile_id}".encode()


def _without_mark(raw: Any) -> list[bytes]:
    """Return send ids and places in turn, without what leave.lua put beside them."""
    fields = list(zip(raw[::2], raw[1::2], strict=True))
    return [each for field, value in fields if field != _MARK for each in (field, value)]


def _place(send_id: bytes, packed: bytes) -> Place:
    # What is to be known of a place later comes behind these.
    state, channel, time, lease = _PLACE.unpack_from(packed)
    return Place(send_id, Channel(channel), int(time), int(lease), committed=state == b"C")


def _packed(place: Place, plan: int) -> bytes:
    return _SEND.pack(plan, place.send_id, b"R", place.channel, place.time_us, place.lease_us)


def _header(plans: Collection[tuple[Limit, ...]], now_us: Micros) -> bytes:
    packed = [
        b"".join([bytes([len(plan)]), *(_packed_limit(limit) for limit in plan)]) for plan in plans
    ]
    return b"".join([_HEADER.pack(now_us, now_us - _KEPT_US, len(packed)), *packed])


def _packed_limit(limit: Limit) -> bytes:
    mask = sum(1 << channel for channel in limit.cap.channels)
    end = _FOREVER if limit.end_us is None else limit.end_us
    return _LIMIT.pack(mask, limit.cap.limit, limit.start_us, end)


def _breach(raw: Sequence[Any], limits: Sequence[Limit]) -> Breach:
    number, turn, *newest = raw
    triples = zip(newest[::3], newest[1::3], newest[2::3], strict=True)
    limit = limits[number - 1]
    return Breach(
        limit, turn, tuple(Filling(id_, time, committed == 1) for id_, time, committed in triples)
    )
