"""Makes sure that places are reserved, kept and freed exactly, whoever asks how often."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from beckon.throttle.v1 import throttle_service_pb2 as pb
from prometheus_client import REGISTRY

from mesh.settings import ServerSettings
from tests.integration.throttle.world import DAY, WEBHOOK, FakeClock, Throttle, running

HOUR = timedelta(hours=1)


async def test_a_subscribed_person_gets_her_message(throttle: Throttle) -> None:
    await throttle.subscribe("ana")

    assert await throttle.answers(throttle.send("ana", 1)) == ["allow"]


async def test_a_cap_suppresses_what_is_one_too_many(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "bob")
    await throttle.cap("daily", 2, calendar=DAY)

    sends = [throttle.send("ana", number) for number in range(3)]
    verdicts = await throttle.reserve(*sends, throttle.send("bob", 9))

    assert [v.WhichOneof("answer") for v in verdicts] == ["allow", "allow", "suppress", "allow"]
    assert verdicts[2].suppress.gate == "frequency_cap"
    assert verdicts[2].suppress.detail.startswith(
        f"{throttle.cap_name('daily')} takes 2 a day, this one since 2026-11-18T00:00:00Z; filled by"
    )


async def test_a_deferred_send_goes_when_it_was_told_to_ask_again(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY, defer=True)
    zone = "America/Sao_Paulo"
    # In the last minutes before a day that has no midnight.
    throttle.clock.set(datetime(2018, 11, 4, 2, 50, tzinfo=UTC))
    first, second = (throttle.send("ana", n, time_zone=zone) for n in (1, 2))

    (allowed, deferred) = await throttle.reserve(first, second)

    assert allowed.HasField("allow")
    assert deferred.defer.gate == "frequency_cap"
    until = deferred.defer.until.ToDatetime(UTC)
    assert until == datetime(2018, 11, 4, 3, tzinfo=UTC)
    throttle.clock.set(until - timedelta(microseconds=1))
    assert await throttle.answers(second) == ["defer"]
    throttle.clock.set(until)
    assert await throttle.answers(second) == ["allow"]


async def test_sends_of_one_batch_are_judged_in_their_order(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "bob")
    await throttle.cap("daily", 1, calendar=DAY)

    answers = await throttle.answers(
        *(throttle.send(of, n) for of, n in [("ana", 1), ("bob", 2), ("ana", 3), ("bob", 4)]),
        throttle.send("ana", 1),
    )

    assert answers == ["allow", "allow", "suppress", "suppress", "allow"]


@pytest.mark.parametrize("outcome", ["reserved", "committed"])
async def test_a_repeat_gets_the_first_answer(throttle: Throttle, outcome: str) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    send = throttle.send("ana", 1)
    await throttle.reserve(send)
    if outcome == "committed":
        await throttle.commit("ana", 1)

    assert await throttle.answers(send, throttle.send("ana", 2), send) == [
        "allow",
        "suppress",
        "allow",
    ]


async def test_a_released_place_is_free(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.reserve(throttle.send("ana", 1))

    await throttle.release("ana", 1)

    assert await throttle.answers(throttle.send("ana", 2), throttle.send("ana", 1)) == [
        "allow",
        "suppress",
    ]


async def test_settling_again_changes_nothing(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.reserve(throttle.send("ana", 1))

    await throttle.commit("ana", 1)
    await throttle.commit("ana", 1)
    await throttle.release("ana", 1)
    await throttle.release("ana", "never asked for")

    assert await throttle.answers(throttle.send("ana", 2)) == ["suppress"]


async def test_a_place_nobody_settles_is_free_after_its_lease(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.reserve(throttle.send("ana", 1, expire=HOUR))

    throttle.clock.advance(2 * HOUR - timedelta(microseconds=1))
    assert await throttle.answers(throttle.send("ana", 2)) == ["suppress"]
    throttle.clock.advance(timedelta(microseconds=1))
    assert await throttle.answers(throttle.send("ana", 2)) == ["allow"]


async def test_a_commit_after_the_lease_counts(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.reserve(throttle.send("ana", 1, expire=HOUR))
    throttle.clock.advance(5 * HOUR)

    await throttle.commit("ana", 1)

    assert await throttle.answers(throttle.send("ana", 2)) == ["suppress"]


async def test_a_critical_send_passes_caps_but_fills_them(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    urgent = [throttle.send("ana", number, critical=True) for number in (1, 2)]

    assert await throttle.answers(*urgent, throttle.send("ana", 3)) == [
        "allow",
        "allow",
        "suppress",
    ]


async def test_a_send_without_consent_takes_no_place(throttle: Throttle) -> None:
    await throttle.cap("daily", 1, calendar=DAY)
    refused = await throttle.answers(throttle.send("ana", 1))

    await throttle.subscribe("ana")

    assert refused == ["suppress"]
    assert await throttle.answers(throttle.send("ana", 2)) == ["allow"]


async def test_a_cap_counts_what_went_out_before_it_was_made(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.reserve(throttle.send("ana", 1))

    await throttle.cap("daily", 1, calendar=DAY)

    assert await throttle.answers(throttle.send("ana", 2)) == ["suppress"]


async def test_a_webhook_needs_no_yes_and_fills_no_cap_over_all(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)

    answers = await throttle.answers(
        throttle.send("ana", 1, channel=WEBHOOK),
        throttle.send("eve", 2, channel=WEBHOOK),
        throttle.send("ana", 3),
    )

    assert answers == ["allow", "allow", "allow"]


@pytest.mark.parametrize("by_shard", [False, True])
async def test_64_reservers_get_exactly_what_there_is(
    postgres_url: str, redis_url: str, settings: ServerSettings, clock: FakeClock, by_shard: bool
) -> None:
    people = [f"person-{number}" for number in range(40)]
    async with running(
        postgres_url, redis_url, settings, clock, f"exact-{by_shard}".lower(), by_shard=by_shard
    ) as throttle:
        await throttle.subscribe(*people)
        await throttle.cap("daily", 7, calendar=DAY)

        answers = await asyncio.gather(
            *(
                throttle.answers(*(throttle.send(of, f"{number}/{of}") for of in people))
                for number in range(64)
            )
        )

    # Sixty-four ask and nothing is given back: one refused too early would leave six.
    assert [of_person.count("allow") for of_person in zip(*answers, strict=True)] == [7] * 40


@pytest.mark.parametrize("by_shard", [False, True])
async def test_64_reservers_that_give_back_never_exceed_a_limit_nor_lose_a_place(
    postgres_url: str, redis_url: str, settings: ServerSettings, clock: FakeClock, by_shard: bool
) -> None:
    workspace = f"crowd-{by_shard}".lower()
    people = [f"person-{number}" for number in range(40)]
    limit = 7
    async with running(
        postgres_url, redis_url, settings, clock, workspace, by_shard=by_shard
    ) as throttle:
        await throttle.subscribe(*people)
        await throttle.cap("daily", limit, calendar=DAY)

        async def reserver(number: int) -> list[tuple[str, str | None]]:
            # Each asks for everybody, twice over, and every third gives back what it got.
            sends = [throttle.send(of, f"{number}/{of}") for of in people]
            first = await throttle.answers(*sends)
            second = await throttle.answers(*sends)
            # A place that is held stays; one that was refused may have become free.
            kept = [now for was, now in zip(first, second, strict=True) if was == "allow"]
            assert set(kept) <= {"allow"}
            if number % 3 == 0:
                for of, answer in zip(people, second, strict=True):
                    if answer == "allow":
                        await throttle.release(of, f"{number}/{of}")
                return []
            return list(zip(people, second, strict=True))

        results = await asyncio.gather(*(reserver(number) for number in range(64)))
        held = Counter(of for result in results for of, answer in result if answer == "allow")
        most = max(held.values(), default=0)
        # Exactly what is left is free: as many as that get it, and no more.
        more = [throttle.send(of, f"more/{n}/{of}") for of in people for n in range(limit)]
        for send, answer in zip(more, await throttle.answers(*more), strict=True):
            held[send.profile.rpartition("/")[2]] += answer == "allow"

    assert most <= limit
    assert set(held.values()) == {limit}
    assert len(held) == len(people)


async def test_consent_withdrawn_between_two_questions_holds_for_the_second(
    throttle: Throttle,
) -> None:
    await throttle.subscribe("ana")
    send = throttle.send("ana", 1)
    before = await throttle.answers(send)

    await throttle.unsubscribe("ana")

    (after,) = await throttle.reserve(send)
    assert before == ["allow"]
    assert after == pb.Verdict(
        suppress=pb.Verdict.Suppress(gate="consent", detail="unsubscribed from email")
    )
    assert await throttle.answers(throttle.send("ana", 2, critical=True)) == ["suppress"]


async def test_a_batch_may_span_workspaces(
    postgres_url: str,
    redis_url: str,
    settings: ServerSettings,
    clock: FakeClock,
) -> None:
    async with (
        running(postgres_url, redis_url, settings, clock, "strict") as strict,
        running(postgres_url, redis_url, settings, clock, "lax") as lax,
    ):
        await strict.subscribe("ana")
        await lax.subscribe("ana")
        await strict.cap("daily", 1, calendar=DAY)
        sends = [one.send("ana", f"{one.workspace}/{n}") for n in (1, 2) for one in (strict, lax)]

        assert await strict.answers(*sends) == ["allow", "allow", "suppress", "allow"]


async def test_verdicts_are_counted_by_rule(throttle: Throttle) -> None:
    def counted(verdict: str, rule: str) -> float:
        labels = {"verdict": verdict, "rule": rule}
        return REGISTRY.get_sample_value("beckon_throttle_verdicts_total", labels) or 0.0

    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY, defer=True)
    kinds = [("allow", ""), ("defer", "frequency_cap"), ("suppress", "consent")]
    before = [counted(*kind) for kind in kinds]

    await throttle.reserve(
        throttle.send("ana", 1),
        throttle.send("ana", 2),
        throttle.send("ana", 3),
        throttle.send("eve", 4),
    )

    assert [counted(*kind) - was for kind, was in zip(kinds, before, strict=True)] == [1, 2, 1]


async def test_what_used_up_a_cap_is_told_afterwards(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 2, calendar=DAY)
    sends = [throttle.send("ana", number) for number in range(3)]
    for send in sends:
        await throttle.reserve(send)
        throttle.clock.advance(HOUR / 60)

    [use] = (await throttle.explain("ana")).caps

    assert (use.frequency_cap, use.limit) == (throttle.cap_name("daily"), 2)
    assert list(use.send_ids) == [sends[1].send_id, sends[0].send_id]


async def test_a_cap_is_told_as_it_was_at_a_time(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 2, calendar=DAY)
    begun = throttle.clock.now()
    first, second = throttle.send("ana", 1), throttle.send("ana", 2)
    await throttle.reserve(first)
    throttle.clock.advance(HOUR)
    await throttle.reserve(second)

    [then] = (await throttle.explain("ana", time=begun + HOUR / 2)).caps
    [before] = (await throttle.explain("ana", time=begun - HOUR)).caps

    assert list(then.send_ids) == [first.send_id]
    assert list(before.send_ids) == []


async def test_of_somebody_united_the_caps_are_told_of_the_person(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 2, calendar=DAY)
    send = throttle.send("ana", 1)
    await throttle.reserve(send)
    await throttle.unite("bob", "ana")

    [use] = (await throttle.explain("ana")).caps

    assert list(use.send_ids) == [send.send_id]
