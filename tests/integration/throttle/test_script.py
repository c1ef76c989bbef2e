"""Makes sure that the scripts of Redis and the pure rules say the same, whatever they are asked."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import redis
from services.throttle.model import (
    Breach,
    Calendar,
    Channel,
    FrequencyCap,
    Limit,
    Outcome,
    Place,
    Rolling,
    Send,
    Settlement,
)
from services.throttle.rules import Limits, micros, place_for, reserve, settle
from services.throttle.store import Places
from tests.unit.throttle.strategies import caps, instants_at_edges, steps

PERSONS = ("ana", "bob", "eve")


class Model:
    """The places of all persons, kept by the pure rules."""

    def __init__(self) -> None:
        self.places: dict[str, dict[bytes, Place]] = {person: {} for person in PERSONS}

    def reserve(
        self, sends: Sequence[Send], limits: Sequence[tuple[Limit, ...]], now_us: int
    ) -> list[list[Breach]]:
        found = []
        for send, of_send in zip(sends, limits, strict=True):
            breaches, self.places[send.profile_id] = reserve(
                self.places[send.profile_id], place_for(send, now_us), of_send, now_us
            )
            found.append(breaches)
        return found

    def settle(self, settlements: Sequence[Settlement]) -> None:
        for one in settlements:
            self.places[one.profile_id] = settle(
                self.places[one.profile_id], [(one.send_id, one.outcome)]
            )


ASKED = st.tuples(
    st.sampled_from(PERSONS),
    st.integers(0, 12),
    st.sampled_from(Channel),
    st.booleans(),
    st.timedeltas(timedelta(days=-1), timedelta(days=3)),
    st.sampled_from(["", "Asia/Kolkata", "America/St_Johns"]),
)
SETTLED = st.tuples(st.sampled_from(PERSONS), st.integers(0, 12), st.sampled_from(Outcome))
# Clocks of several processes differ a little, so that time also runs back.
TURNS = st.lists(
    st.tuples(
        st.one_of(steps, st.timedeltas(timedelta(seconds=-2), timedelta(0))),
        st.one_of(st.lists(ASKED, min_size=1, max_size=8), st.lists(SETTLED, min_size=1)),
    ),
    max_size=10,
)


def sends_of(asked: Sequence[tuple[object, ...]], workspace: str, now: datetime) -> list[Send]:
    found = []
    for person, number, channel, critical, expire, zone in asked:
        assert isinstance(person, str)
        assert isinstance(number, int)
        assert isinstance(channel, Channel)
        assert isinstance(expire, timedelta)
        found.append(
            Send(
                UUID(int=number).bytes,
                workspace,
                person,
                channel,
                bool(critical) and number == 0,
                str(zone),
                micros(now + expire),
            )
        )
    return found


def settlements_of(asked: Sequence[tuple[object, ...]], workspace: str) -> list[Settlement]:
    found = []
    for person, number, outcome in asked:
        assert isinstance(person, str)
        assert isinstance(number, int)
        assert isinstance(outcome, Outcome)
        found.append(Settlement(UUID(int=number).bytes, workspace, person, outcome))
    return found


@settings(max_examples=300)
@given(st.lists(caps, max_size=4), instants_at_edges(), TURNS, st.booleans())
async def test_script_and_rules_agree(
    redis_url: str,
    rules: list[FrequencyCap],
    where: tuple[str, datetime],
    turns: list[tuple[timedelta, list[tuple[object, ...]]]],
    by_shard: bool,
) -> None:
    # Every example has persons of its own.
    workspace = f"w{uuid4().hex}"
    model, limits_now, (_, now) = Model(), Limits(), where
    async with redis.connect(redis_url) as client:
        places = Places(client, by_shard=by_shard)
        for step, asked in turns:
            now += step
            if isinstance(asked[0][2], Outcome):
                ended = settlements_of(asked, workspace)
                model.settle(ended)
                await places.settle(ended)
                continue
            now_us = micros(now)
            sends = sends_of(asked, workspace, now)
            limits = [
                limits_now.of(
                    rules,
                    send.channel,
                    send.time_zone,
                    critical=send.critical,
                    now_us=now_us,
                )
                for send in sends
            ]

            said = await places.reserve(sends, limits, now_us)

            assert said == model.reserve(sends, limits, now_us)


_NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_LEAST = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("window", "before", "full"),
    [
        (Calendar.DAY, _NOON - 12 * _HOUR - _LEAST, False),
        (Calendar.DAY, _NOON - 12 * _HOUR, True),
        # A faster clock wrote these.
        (Calendar.DAY, _NOON + 12 * _HOUR - _LEAST, True),
        (Calendar.DAY, _NOON + 12 * _HOUR, False),
        (Rolling(_HOUR), _NOON - _HOUR, False),
        (Rolling(_HOUR), _NOON - _HOUR + _LEAST, True),
        (Rolling(_HOUR), _NOON + _LEAST, True),
    ],
)
async def test_a_window_holds_its_first_instant_and_not_the_next_ones(
    redis_url: str, window: Calendar | Rolling, before: datetime, full: bool
) -> None:
    workspace = f"w{uuid4().hex}"
    cap = FrequencyCap(workspace=workspace, cap_id="one", channel=None, limit=1, window=window)
    limits = Limits().of([cap], Channel.EMAIL, "", critical=False, now_us=micros(_NOON))
    first, second = (
        Send(UUID(int=n).bytes, workspace, "ana", Channel.EMAIL, False, "", micros(_NOON + _HOUR))
        for n in (1, 2)
    )
    async with redis.connect(redis_url) as client:
        places = Places(client)
        await places.reserve([first], [()], micros(before))
        await places.settle([Settlement(first.send_id, workspace, "ana", Outcome.COMMITTED)])

        (breaches,) = await places.reserve([second], [limits], micros(_NOON))

    assert bool(breaches) is full


@pytest.mark.parametrize(("late", "full"), [(-_LEAST, True), (timedelta(0), False)])
async def test_a_lease_holds_to_its_last_instant(
    redis_url: str, late: timedelta, full: bool
) -> None:
    workspace = f"w{uuid4().hex}"
    cap = FrequencyCap(
        workspace=workspace, cap_id="one", channel=None, limit=1, window=Calendar.DAY
    )
    now_us = micros(_NOON + 2 * _HOUR + late)
    limits = Limits().of([cap], Channel.EMAIL, "", critical=False, now_us=now_us)
    first, second = (
        Send(UUID(int=n).bytes, workspace, "ana", Channel.EMAIL, False, "", micros(_NOON + _HOUR))
        for n in (1, 2)
    )
    async with redis.connect(redis_url) as client:
        places = Places(client)
        await places.reserve([first], [()], micros(_NOON))

        (breaches,) = await places.reserve([second], [limits], now_us)

    assert bool(breaches) is full


async def test_old_places_are_forgotten(redis_url: str) -> None:
    now = datetime(2026, 11, 18, tzinfo=UTC)
    send = Send(UUID(int=1).bytes, "old", "ana", Channel.EMAIL, False, "", micros(now))
    async with redis.connect(redis_url) as client:
        places = Places(client)
        for day in (0, 1, 32):
            sent = send._replace(send_id=UUID(int=day).bytes)
            at = now + timedelta(days=day)
            await places.reserve([sent], [()], micros(at))
        keys = [key async for key in client.scan_iter("beckon:caps:{old:*")]
        kept = await client.hkeys(keys[0])
        life = await client.ttl(keys[0])

    assert kept == [UUID(int=32).bytes]
    assert timedelta(days=32) < timedelta(seconds=life) <= timedelta(days=33)


async def test_a_crowd_of_places_is_thinned_to_what_any_limit_needs(redis_url: str) -> None:
    now = micros(datetime(2026, 11, 18, tzinfo=UTC))
    cap = FrequencyCap(
        workspace="crowd", cap_id="all", channel=Channel.WEBHOOK, limit=1000, window=Calendar.DAY
    )
    async with redis.connect(redis_url) as client:
        places = Places(client)
        for turn in range(16):
            sends = [
                Send(UUID(int=turn * 100 + n).bytes, "crowd", "ana", Channel.WEBHOOK, True, "", now)
                for n in range(100)
            ]
            await places.reserve(sends, [()] * 100, now + turn)
        limits = Limits().of([cap], Channel.WEBHOOK, "", critical=False, now_us=now + 100)
        last = Send(UUID(int=10_000).bytes, "crowd", "ana", Channel.WEBHOOK, False, "", now)

        (breaches,) = await places.reserve([last], [limits], now + 100)

        keys = [key async for key in client.scan_iter("beckon:caps:{crowd:*")]
        assert await client.hlen(keys[0]) == 1000
        # The thousandth newest of 1,600 in 16 turns.
        assert breaches[0].turn_us == now + 6
