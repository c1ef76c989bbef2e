"""Makes sure that places are reserved, kept and freed exactly, whoever asks how often."""

from tests.integration.throttle.world import DAY, Throttle


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
