"""Makes sure that a person with several ids has one consent and one count, whenever ids are united."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import pytest
from beckon.throttle.v1 import identity_service_pb2 as pb
from beckon.throttle.v1 import identity_service_pb2_grpc as rpc
from beckon.throttle.v1 import subscription_service_pb2 as subscriptions_pb

from mesh.errors import violations_of
from services.throttle.model import Send
from services.throttle.store import Moved
from tests.integration.throttle.world import DAY, EMAIL, WEBHOOK, Throttle, send_id

SUBSCRIBED = subscriptions_pb.Subscription.STATE_SUBSCRIBED
UNSUBSCRIBED = subscriptions_pb.Subscription.STATE_UNSUBSCRIBED
UNDECIDED = subscriptions_pb.Subscription.STATE_UNDECIDED


async def said(throttle: Throttle, of: str) -> int:
    """Return what is listed of a person about e-mail."""
    response = await throttle.subscriptions_stub.ListSubscriptions(
        subscriptions_pb.ListSubscriptionsRequest(parent=throttle.profile(of))
    )
    [one] = [each for each in response.subscriptions if each.channel == EMAIL]
    return one.state


@pytest.mark.parametrize(
    ("a1", "ana", "together"),
    [
        (SUBSCRIBED, UNSUBSCRIBED, UNSUBSCRIBED),
        (UNSUBSCRIBED, SUBSCRIBED, UNSUBSCRIBED),
        (UNSUBSCRIBED, UNDECIDED, UNSUBSCRIBED),
        (SUBSCRIBED, UNDECIDED, SUBSCRIBED),
        (UNDECIDED, UNDECIDED, UNDECIDED),
    ],
)
async def test_of_what_a_person_said_under_her_ids_the_most_restrictive_holds(
    throttle: Throttle, a1: Any, ana: Any, together: int
) -> None:
    await throttle.subscribe("a1", state=a1)
    await throttle.subscribe("ana", state=ana)

    await throttle.unite("ana", "a1")

    answer = "allow" if together == SUBSCRIBED else "suppress"
    assert await throttle.answers(throttle.send("ana", 1), throttle.send("a1", 2)) == [answer] * 2
    assert [await said(throttle, of) for of in ("ana", "a1")] == [together] * 2


async def test_parted_again_each_id_has_its_own_consent(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.unsubscribe("a1")
    await throttle.unite("ana", "a1", version=1)

    await throttle.unite("a1", version=2)
    await throttle.unite("ana", version=2)

    assert await throttle.answers(throttle.send("ana", 1), throttle.send("a1", 2)) == [
        "allow",
        "suppress",
    ]


@pytest.mark.parametrize(
    ("before", "after"), [(SUBSCRIBED, UNSUBSCRIBED), (UNSUBSCRIBED, SUBSCRIBED)]
)
@pytest.mark.parametrize("by", ["ana", "a1"])
async def test_what_a_united_person_says_she_says_under_all_her_ids(
    throttle: Throttle, before: Any, after: Any, by: str
) -> None:
    await throttle.subscribe("ana", "a1", state=before)
    await throttle.unite("ana", "a1", version=1)

    await throttle.subscribe(by, state=after)

    united = [await said(throttle, of) for of in ("ana", "a1")]
    await throttle.unite("a1", version=2)
    await throttle.unite("ana", version=2)
    parted = [await said(throttle, of) for of in ("ana", "a1")]
    assert (united, parted) == ([after] * 2, [after] * 2)


async def test_who_said_no_under_one_id_may_say_yes_under_another(throttle: Throttle) -> None:
    await throttle.unsubscribe("a1")
    await throttle.subscribe("bob")
    await throttle.unite("ana", "a1")
    before = await throttle.answers(throttle.send("ana", 1))

    await throttle.subscribe("ana")

    after = await throttle.answers(throttle.send("ana", 2), throttle.send("a1", 3))
    assert (before, after) == (["suppress"], ["allow", "allow"])


async def test_of_two_answers_of_one_person_in_one_call_the_later_holds(throttle: Throttle) -> None:
    await throttle.unite("ana", "a1")

    response = await throttle.subscriptions_stub.BatchUpdateSubscriptions(
        subscriptions_pb.BatchUpdateSubscriptionsRequest(
            parent=f"workspaces/{throttle.workspace}",
            subscriptions=[
                subscriptions_pb.Subscription(
                    profile=throttle.profile(of), channel=EMAIL, state=state
                )
                for of, state in (("a1", UNSUBSCRIBED), ("ana", SUBSCRIBED))
            ],
        )
    )

    assert [one.state for one in response.subscriptions] == [SUBSCRIBED] * 2
    assert [await said(throttle, of) for of in ("ana", "a1")] == [SUBSCRIBED] * 2


async def test_sends_of_all_ids_count_for_the_person(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 3, calendar=DAY)
    await throttle.reserve(throttle.send("a1", 1), throttle.send("a1", 2), throttle.send("ana", 3))
    await throttle.commit("a1", 1)

    await throttle.unite("ana", "a1")

    again = [throttle.send("a1", 1), throttle.send("ana", 2), throttle.send("ana", 3)]
    assert await throttle.answers(*again) == ["allow"] * 3
    assert await throttle.answers(throttle.send("ana", 4), throttle.send("a1", 5)) == [
        "suppress",
        "suppress",
    ]


async def test_a_send_reserved_before_the_union_is_released_after_it(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.reserve(throttle.send("a1", 1))
    await throttle.unite("ana", "a1")

    await throttle.release("a1", 1)

    assert await throttle.answers(throttle.send("ana", 2)) == ["allow"]


async def test_a_send_reserved_before_the_union_is_committed_after_it(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.reserve(throttle.send("a1", 1))
    await throttle.unite("ana", "a1")

    await throttle.commit("a1", 1)
    # Beyond the lease: only what was sent counts.
    throttle.clock.advance(timedelta(hours=3))

    assert await throttle.answers(throttle.send("ana", 2)) == ["suppress"]


async def test_the_end_of_a_send_costs_no_question_who_is_who(
    throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await throttle.subscribe("ana", "bob")
    await throttle.reserve(throttle.send("ana", 1), throttle.send("bob", 2))
    asked: list[Any] = []
    of = throttle.identities.of

    async def watched(people: Any) -> Any:
        asked.extend(people)
        return await of(people)

    monkeypatch.setattr(throttle.identities, "of", watched)
    await throttle.commit("ana", 1)
    await throttle.release("bob", 2)
    usual = list(asked)
    await throttle.commit("ana", 3)

    assert (usual, asked) == ([], [(throttle.workspace, "ana")])


async def test_parted_again_each_id_keeps_all_that_was_counted(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 2, calendar=DAY)
    await throttle.reserve(throttle.send("a1", 1))
    await throttle.unite("ana", "a1", version=1)
    await throttle.reserve(throttle.send("ana", 2))

    await throttle.unite("a1", version=2)
    await throttle.unite("ana", version=2)

    sends = [throttle.send("a1", 3), throttle.send("ana", 4)]
    assert await throttle.answers(*sends) == ["suppress", "suppress"]


async def test_parted_ids_count_apart_from_then_on(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 2, calendar=DAY)
    await throttle.unite("ana", "a1", version=1)
    await throttle.reserve(throttle.send("ana", 1))
    await throttle.unite("a1", version=2)
    await throttle.unite("ana", version=2)

    first = [throttle.send("a1", 2), throttle.send("ana", 3)]
    second = [throttle.send("a1", 4), throttle.send("ana", 5)]

    assert await throttle.answers(*first) == ["allow", "allow"]
    assert await throttle.answers(*second) == ["suppress", "suppress"]


async def test_an_older_version_changes_nothing(throttle: Throttle) -> None:
    await throttle.unsubscribe("a1")
    await throttle.subscribe("ana")
    await throttle.unite("a1", version=7)
    await throttle.unite("ana", version=7)

    await throttle.unite("ana", "a1", version=6)

    assert await throttle.answers(throttle.send("ana", 1)) == ["allow"]


async def test_a_repeat_changes_nothing(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 2, calendar=DAY)
    await throttle.reserve(throttle.send("a1", 1))
    await throttle.unite("ana", "a1")
    await throttle.release("a1", 1)
    await throttle.reserve(throttle.send("ana", 2))

    await throttle.unite("ana", "a1")

    assert await throttle.answers(throttle.send("ana", 3), throttle.send("ana", 4)) == [
        "allow",
        "suppress",
    ]


async def test_a_crash_after_the_ids_were_set_is_mended_by_the_repeat(throttle: Throttle) -> None:
    """Nothing was copied: what is known of each id must still say from where to."""
    from services.throttle import convert

    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.unite("ana", "a1", version=1)
    await throttle.reserve(throttle.send("ana", 1))
    parted = pb.SetIdentitiesRequest.Identity(
        profile=throttle.profile("a1"), member_ids=["a1"], version=2
    )
    [identity] = convert.identities(pb.SetIdentitiesRequest(identities=[parted]))
    await throttle.identities.set(identity)

    await throttle.unite("a1", version=2)

    assert await throttle.answers(throttle.send("a1", 2)) == ["suppress"]


async def test_a_chain_of_unions_counts_for_the_last(throttle: Throttle) -> None:
    await throttle.subscribe("a1", "ana", "bob")
    await throttle.cap("daily", 3, calendar=DAY)
    for number, of in enumerate(("a1", "ana", "bob")):
        await throttle.reserve(throttle.send(of, number))

    await throttle.unite("ana", "a1", version=1)
    await throttle.unite("bob", "ana", "a1", version=2)

    sends = [throttle.send(of, f"more-{of}") for of in ("a1", "ana", "bob")]
    assert await throttle.answers(*sends) == ["suppress"] * 3


async def test_who_asked_under_which_id_before_a_union_asks_again(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.unite("ana", "a1")
    place = Send(send_id("late"), throttle.workspace, "a1", EMAIL, False, "", 1)  # type: ignore[arg-type]

    with pytest.raises(Moved):
        await throttle.places.reserve([place], [()], 1)


async def test_reservations_in_the_middle_of_a_union_are_all_counted(throttle: Throttle) -> None:
    """Beyond the moment of the union no more go out than the cap takes."""
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 10, calendar=DAY)

    sends = [throttle.send(of, f"{of}-{n}") for n in range(8) for of in ("a1", "ana")]
    union = asyncio.gather(throttle.unite("ana", "a1"))
    verdicts = await asyncio.gather(*(throttle.reserve(send) for send in sends))
    await union
    allowed = sum(verdict.HasField("allow") for [verdict] in verdicts)

    more = [throttle.send("ana", f"more-{n}") for n in range(10)]
    later = (await throttle.answers(*more)).count("allow")
    assert 10 <= allowed <= 16
    assert later == max(0, 10 - allowed)


async def test_a_forgotten_person_has_no_consent_and_no_count(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1", "bob")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.unite("ana", "a1")
    await throttle.reserve(throttle.send("ana", 1), throttle.send("bob", 2))

    counts = await throttle.erase("ana", "a1")

    assert counts == {"subscriptions": 2, "sends": 1}
    # The answer may have been lost: the repeat counts what was removed before.
    assert await throttle.erase("ana", "a1") == counts
    assert await throttle.erase("ana", "a1", number=2) == {"subscriptions": 0, "sends": 0}
    assert await said(throttle, "a1") == UNDECIDED
    await throttle.subscribe("a1")
    assert await throttle.answers(throttle.send("a1", 3), throttle.send("bob", 4)) == [
        "allow",
        "suppress",
    ]


async def test_a_send_that_counts_under_two_ids_is_erased_as_one(throttle: Throttle) -> None:
    await throttle.subscribe("ana", "a1")
    await throttle.cap("daily", 3, calendar=DAY)
    await throttle.reserve(throttle.send("a1", 1), throttle.send("ana", 2))
    await throttle.unite("ana", "a1")

    counts = await throttle.erase("ana", "a1")

    assert counts == {"subscriptions": 2, "sends": 2}


async def test_a_crash_in_the_middle_of_an_erasure_costs_no_count(
    throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await throttle.subscribe("ana")
    await throttle.reserve(throttle.send("ana", 1))
    erase = throttle.places.erase

    async def dying(people: Any) -> None:
        await erase(people)
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(throttle.places, "erase", dying)
        with pytest.raises(grpc.aio.AioRpcError):
            await throttle.erase("ana")

    assert await throttle.erase("ana") == {"subscriptions": 1, "sends": 1}


async def test_the_end_of_an_erased_send_is_nobodys(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    await throttle.reserve(throttle.send("ana", 1))
    await throttle.erase("ana")

    await throttle.commit("ana", 1)

    await throttle.subscribe("ana")
    assert await throttle.answers(throttle.send("ana", 2)) == ["allow"]


async def test_webhooks_go_while_nobody_said_no(throttle: Throttle) -> None:
    await throttle.subscribe("a1", channel=WEBHOOK, state=UNSUBSCRIBED)
    before = await throttle.answers(throttle.send("ana", 1, channel=WEBHOOK))

    await throttle.unite("ana", "a1")

    after = await throttle.answers(throttle.send("ana", 2, channel=WEBHOOK))
    assert (before, after) == (["allow"], ["suppress"])


@pytest.mark.parametrize(
    ("identity", "field"),
    [
        (pb.SetIdentitiesRequest.Identity(version=1), "identities[0].member_ids"),
        (pb.SetIdentitiesRequest.Identity(member_ids=["a1"]), "identities[0].member_ids"),
        (pb.SetIdentitiesRequest.Identity(member_ids=["ana", "a/b"]), "identities[0].member_ids"),
        (
            pb.SetIdentitiesRequest.Identity(member_ids=["ana", *(f"a{n}" for n in range(100))]),
            "identities[0].member_ids",
        ),
    ],
)
async def test_ids_that_are_none_are_refused_by_field(
    throttle: Throttle, identity: pb.SetIdentitiesRequest.Identity, field: str
) -> None:
    identity.profile = throttle.profile("ana")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await throttle.identities_stub.SetIdentities(pb.SetIdentitiesRequest(identities=[identity]))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in violations_of(caught.value)] == [field]


async def test_only_callers_of_all_workspaces_may_set_who_is_who(throttle: Throttle) -> None:
    stub = rpc.IdentityServiceStub(throttle.acme_channel)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ErasePeople(
            pb.ErasePeopleRequest(
                profiles=[throttle.profile("ana")],
                erasure=f"workspaces/{throttle.workspace}/erasures/{UUID(int=1)}",
            )
        )

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
