"""Makes sure that whatever fails on the way, no message is lost, doubled, or silent about its end."""

import asyncio
from pathlib import Path
from uuid import uuid4

import grpc
import grpc.aio
import psutil
import pytest
from aiohttp import web
from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.throttle.v1.throttle_service_pb2 import Settlement

from mesh.errors import reason_of
from tests.integration.delivery import peers as fakes
from tests.integration.delivery.peers import Hooks, Inbox, Peers, Post
from tests.integration.delivery.service import (
    EMAIL,
    Service,
    a_delivery,
    a_template,
    key_of,
    service,
)
from tests.waiting import eventually

SHORT = {
    "DELIVERY_LEASE_SECONDS": "2",
    "DELIVERY_SMTP_TIMEOUT_SECONDS": "1",
    "DELIVERY_WEBHOOK_TIMEOUT_SECONDS": "1",
}


async def all_in(delivery: Service, state: "pb.Delivery.State.ValueType", count: int) -> bool:
    """Say whether so many deliveries are in a state."""
    response = await delivery.deliveries.ListDeliveries(
        pb.ListDeliveriesRequest(parent="workspaces/w", states=[state], page_size=1000)
    )
    return len(response.deliveries) == count


async def test_a_host_in_trouble_gets_it_later(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        hooks.behave = lambda _post, _request: (
            web.Response(status=503) if len(hooks.posts) < 3 else None
        )
        request = a_delivery()

        await delivery.create(request)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        assert shown.attempt_count == 3
        assert len(hooks.contents()) == 1


async def test_retry_after_is_obeyed(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        hooks.behave = lambda _post, _request: web.Response(
            status=429, headers={"Retry-After": "3600"}
        )
        request = a_delivery()
        await delivery.create(request)
        await eventually(lambda: len(hooks.posts) == 1)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_PENDING)

        assert shown.next_attempt_time.seconds > shown.create_time.seconds + 3500
        assert shown.error == "429"


async def test_what_is_refused_is_a_dead_letter_that_can_be_redriven(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        hooks.behave = lambda _post, _request: web.Response(status=422)
        request = a_delivery()
        await delivery.create(request)
        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_FAILED)
        assert shown.error == "provider_refused: 422"
        await eventually(lambda: peers.ingest.types() == ["message_failed"])
        assert peers.throttle.settlements == {request.delivery_id: Settlement.OUTCOME_RELEASED}
        hooks.behave = None

        answer = await delivery.deliveries.RedriveDeliveries(
            pb.RedriveDeliveriesRequest(parent="workspaces/w", names=[shown.name])
        )

        assert answer.redriven_count == 1
        await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        await eventually(lambda: peers.ingest.types() == ["message_failed", "message_sent"])
        assert {post.key for post in hooks.posts} == {str(key_of(request))}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await delivery.deliveries.RedriveDeliveries(
                pb.RedriveDeliveriesRequest(parent="workspaces/w", names=[shown.name])
            )
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(refused.value) == "STATE_FORBIDS"
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await delivery.deliveries.RedriveDeliveries(
                pb.RedriveDeliveriesRequest(
                    parent="workspaces/w", names=[f"workspaces/w/deliveries/{uuid4()}"]
                )
            )
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_host_that_never_answers_slows_only_itself(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with (
        fakes.hooks() as stuck,
        service(
            tmp_path,
            database_url,
            peers.address,
            hooks=f"{hooks.address},{stuck.address}",
            settings={"DELIVERY_WEBHOOK_CONNECTIONS": "4"},
        ) as delivery,
    ):
        stuck.behave = lambda _post, _request: asyncio.Event().wait()
        await delivery.save(a_template("good", hook=hooks.address))
        await delivery.save(a_template("stuck", hook=stuck.address))
        good = [a_delivery(template="good") for _ in range(50)]
        bad = [a_delivery(template="stuck") for _ in range(50)]

        await delivery.create(*bad, *good)

        # Well before the stuck host's timeout of 10 s.
        await eventually(lambda: len(hooks.contents()) == 50, limit=5)
        await eventually(lambda: stuck.open == 4)
        assert stuck.open_most == 4


async def test_killed_in_the_middle_every_webhook_arrives_with_one_content_for_its_key(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(
        tmp_path, database_url, peers.address, hooks=hooks.address, settings=SHORT
    ) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        hooks.behave = fakes.answering_after(0.05)
        requests = [a_delivery(value=number) for number in range(300)]
        await delivery.create(*requests)
        await eventually(lambda: len(hooks.posts) > 60)

        await delivery.kill()
        await delivery.start()

        await eventually(lambda: all_in(delivery, pb.Delivery.STATE_SENT, 300))
        contents = hooks.contents()
        assert set(contents) == {str(key_of(request)) for request in requests}
        assert all(len(bodies) == 1 for bodies in contents.values())
        await eventually(lambda: len(peers.ingest.events) == 300)
        await eventually(lambda: len(peers.throttle.settlements) == 300)
        assert peers.ingest.clashes == []


async def test_stopped_in_the_middle_the_next_process_goes_on_at_once(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        hooks.behave = fakes.answering_after(0.05)
        requests = [a_delivery(value=number) for number in range(300)]
        await delivery.create(*requests)
        await eventually(lambda: len(hooks.posts) > 60)

        assert await delivery.stop() == 0
        sent = len(hooks.posts)
        await delivery.start()

        # Well before the lease of 30 s.
        await eventually(lambda: all_in(delivery, pb.Delivery.STATE_SENT, 300), limit=15)
        assert sent < 300
        assert len(hooks.posts) == 300
        await eventually(lambda: len(peers.ingest.events) == 300)


async def test_a_host_in_trouble_leaves_room_for_the_others(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with (
        fakes.hooks() as stuck,
        service(
            tmp_path,
            database_url,
            peers.address,
            hooks=f"{hooks.address},{stuck.address}",
            settings={
                "DELIVERY_WEBHOOK_CONNECTIONS": "2",
                "DELIVERY_WEBHOOK_TIMEOUT_SECONDS": "1",
                "DELIVERY_LEASE_SECONDS": "4",
                "DELIVERY_HELD_MAX": "50",
            },
        ) as delivery,
    ):
        stuck.behave = lambda _post, _request: asyncio.Event().wait()
        await delivery.save(a_template("good", hook=hooks.address))
        await delivery.save(a_template("stuck", hook=stuck.address))
        # Many more than the lane holds, and all before the first good one.
        await delivery.create(*(a_delivery(template="stuck") for _ in range(300)))

        await delivery.create(*(a_delivery(template="good") for _ in range(20)))

        await eventually(lambda: len(hooks.contents()) == 20)


async def test_killed_in_the_middle_no_mail_goes_out_twice(
    tmp_path: Path, database_url: str, peers: Peers, inbox: Inbox
) -> None:
    async with service(
        tmp_path, database_url, peers.address, inbox=inbox.address, settings=SHORT
    ) as delivery:
        await delivery.save(a_template())
        for number in range(200):
            peers.profiles.emails[f"workspaces/w/profiles/p{number}"] = f"p{number}@example.com"

        inbox.behave_data = fakes.answering_after(0.03)
        requests = [a_delivery(EMAIL, profile=f"p{number}") for number in range(200)]
        await delivery.create(*requests)
        await eventually(lambda: len(inbox.mails) > 40)

        await delivery.kill()
        await delivery.start()

        async def settled() -> bool:
            response = await delivery.deliveries.ListDeliveries(
                pb.ListDeliveriesRequest(parent="workspaces/w", page_size=1000)
            )
            final = {pb.Delivery.STATE_SENT, pb.Delivery.STATE_UNKNOWN}
            return all(one.state in final for one in response.deliveries)

        await eventually(settled)
        recipients = [mail.recipients[0] for mail in inbox.mails]
        assert len(recipients) == len(set(recipients))
        unknown = await delivery.deliveries.ListDeliveries(
            pb.ListDeliveriesRequest(
                parent="workspaces/w", states=[pb.Delivery.STATE_UNKNOWN], page_size=1000
            )
        )
        # Few: what was in flight, and what was marked to follow on the same connections.
        assert 0 < len(unknown.deliveries) <= 8 * 16
        names = [one.name for one in unknown.deliveries]
        missed = {f"p{number}@example.com" for number in range(200)} - set(recipients)
        assert missed <= {f"{one.profile.split('/')[-1]}@example.com" for one in unknown.deliveries}
        with pytest.raises(grpc.aio.AioRpcError):
            await delivery.deliveries.RedriveDeliveries(
                pb.RedriveDeliveriesRequest(parent="workspaces/w", names=names)
            )
        inbox.behave_data = None
        await delivery.deliveries.RedriveDeliveries(
            pb.RedriveDeliveriesRequest(parent="workspaces/w", names=names, include_unknown=True)
        )
        await eventually(lambda: all_in(delivery, pb.Delivery.STATE_SENT, 200))


async def test_a_relay_that_falls_silent_after_the_mail_leaves_it_unknown(
    tmp_path: Path, database_url: str, peers: Peers, inbox: Inbox
) -> None:
    async with service(
        tmp_path, database_url, peers.address, inbox=inbox.address, settings=SHORT
    ) as delivery:
        await delivery.save(a_template())
        peers.profiles.emails["workspaces/w/profiles/ana"] = "ana@example.com"
        inbox.behave_data = fakes.answering_after(5)
        request = a_delivery(EMAIL)

        await delivery.create(request)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_UNKNOWN)
        assert shown.error == "no_answer"
        await eventually(lambda: peers.ingest.types() == ["message_unknown"])
        # It may have reached her: it counts.
        assert peers.throttle.settlements == {request.delivery_id: Settlement.OUTCOME_COMMITTED}


async def test_peers_that_are_away_or_lose_their_reply_hear_of_it_all_the_same(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        # Each call is tried four times by the client itself.
        peers.throttle.plan.faults = ["away"] * 5
        peers.ingest.plan.faults = ["lost_reply"] * 5
        requests = [a_delivery() for _ in range(20)]

        await delivery.create(*requests)

        await eventually(lambda: len(peers.ingest.events) == 20)
        await eventually(lambda: len(peers.throttle.settlements) == 20)
        await eventually(lambda: not peers.ingest.plan.faults)
        assert peers.ingest.clashes == []
        assert peers.ingest.repeats >= 20


async def test_while_profile_is_away_mails_wait_and_no_try_is_counted(
    tmp_path: Path, database_url: str, peers: Peers, inbox: Inbox
) -> None:
    async with service(tmp_path, database_url, peers.address, inbox=inbox.address) as delivery:
        await delivery.save(a_template())
        peers.profiles.emails["workspaces/w/profiles/ana"] = "ana@example.com"
        peers.profiles.plan.faults = ["away"] * 6
        request = a_delivery(EMAIL)

        await delivery.create(request)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        assert shown.attempt_count == 1
        assert peers.profiles.calls == 1


async def test_what_cannot_be_made_says_why_and_spoils_nothing_else(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks, inbox: Inbox
) -> None:
    async with service(
        tmp_path,
        database_url,
        peers.address,
        hooks=hooks.address,
        inbox=inbox.address,
        settings={"DELIVERY_RENDER_CPU_SECONDS": "200ms"},
    ) as delivery:
        peers.profiles.emails["workspaces/w/profiles/ana"] = "ana@example.com"
        await delivery.save(a_template(hook=hooks.address))
        await delivery.save(a_template("mail"))
        await delivery.save(a_template("loop", hook=hooks.address, body=_NESTED))
        await delivery.save(
            a_template("raw", hook=hooks.address, body="{{ event.properties.raw }}")
        )
        long = b'{"event":{"properties":{"list":[' + b",".join([b"1"] * 300) + b']}},"profile":{}}'
        raw = b'{"event":{"properties":{"raw":%s}},"profile":{}}'
        bad = {
            "TEMPLATE_MISSING": a_delivery(template="gone"),
            "ADDRESS_MISSING": a_delivery(EMAIL, profile="bob", template="mail"),
            "DATA_MISSING: event.properties.value, profile.id": a_delivery(
                data=b'{"event":{"properties":{}},"profile":{}}'
            ),
            "DATA_INVALID": a_delivery(data=b"{nonsense"),
            "BODY_NOT_JSON": a_delivery(template="raw", data=raw % b'"no json"'),
            "TEMPLATE_TOO_COSTLY": a_delivery(template="loop", data=long),
        }
        good = [a_delivery() for _ in range(30)] + [a_delivery(EMAIL, template="mail")]

        await delivery.create(*bad.values(), *good)

        for request in good:
            await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        for error, request in bad.items():
            shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_FAILED)
            assert shown.error == error
            assert shown.attempt_count == 0


_NESTED = (
    "[{% for a in event.properties.list %}{% for b in event.properties.list %}"
    "{% for c in event.properties.list %}{% for d in event.properties.list %}"
    "{% endfor %}{% endfor %}{% endfor %}{% endfor %}]"
)


async def test_the_rendering_child_may_die_at_any_time_and_dies_with_its_parent(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        assert delivery.process is not None
        children = psutil.Process(delivery.process.pid).children()
        assert len(children) == 2
        for child in children:
            child.kill()
        request = a_delivery()

        await delivery.create(request)

        await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        later = psutil.Process(delivery.process.pid).children()
        await delivery.kill()
        await eventually(lambda: not any(child.is_running() for child in later))


async def test_what_expires_is_not_sent(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        request = a_delivery(expire_seconds=1)

        await delivery.create(request)

        await delivery.reaches(key_of(request), pb.Delivery.STATE_EXPIRED)
        assert hooks.posts == []
        await eventually(lambda: peers.ingest.types() == ["message_expired"])


async def test_a_repeat_of_a_create_in_any_state_changes_nothing(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        requests = [a_delivery(value=number) for number in range(50)]

        counts = await asyncio.gather(*(delivery.create(*requests) for _ in range(5)))
        await eventually(lambda: all_in(delivery, pb.Delivery.STATE_SENT, 50))
        again = await delivery.create(*requests)

        assert sum(counts) == 50
        assert again == 0
        assert len(hooks.posts) == 50


async def test_a_broadcast_is_counted_by_what_became_of_each_message(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        hooks.behave = lambda post, _: (
            web.Response(status=400 if b"refused" in post.body else 503)
            if b"sent" not in post.body
            else None
        )
        broadcast = uuid4().bytes
        requests = [a_delivery(profile=f"sent{number}") for number in range(3)]
        requests += [a_delivery(profile="refused"), a_delivery(profile="waits")]
        late = a_delivery(profile="sent-late", expire_seconds=1)
        for request in (*requests, late):
            request.broadcast = broadcast
        await delivery.create(*requests, late, a_delivery(profile="sent-alone"))
        await eventually(lambda: all_in(delivery, pb.Delivery.STATE_SENT, 4))
        refused = await delivery.reaches(key_of(requests[3]), pb.Delivery.STATE_FAILED)
        await delivery.reaches(key_of(late), pb.Delivery.STATE_EXPIRED)

        counts = await delivery.deliveries.CountDeliveries(
            pb.CountDeliveriesRequest(broadcast=broadcast)
        )
        with pytest.raises(grpc.aio.AioRpcError, match="broadcast") as caught:
            await delivery.deliveries.CountDeliveries(pb.CountDeliveriesRequest())

        assert counts.sent_count == 3
        assert dict(counts.failed) == {refused.error.partition(":")[0]: 1, "expired": 1}
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_cancelled_is_cancelled_before_during_and_never_after(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))

        def busy(post: Post, _request: web.BaseRequest) -> web.Response | None:
            waits = post.key == str(key_of(waiting))
            return web.Response(status=503, headers={"Retry-After": "600"}) if waits else None

        hooks.behave = busy
        early, waiting, sent = a_delivery(), a_delivery(), a_delivery()
        await delivery.create(waiting, sent)
        await delivery.reaches(key_of(sent), pb.Delivery.STATE_SENT)
        await delivery.reaches(key_of(waiting), pb.Delivery.STATE_PENDING)

        items = [
            pb.BatchCancelDeliveriesRequest.Item(delivery_id=one.delivery_id, profile=one.profile)
            for one in (early, waiting, sent)
        ]
        cancel = pb.BatchCancelDeliveriesRequest(items=items)
        first = await delivery.deliveries.BatchCancelDeliveries(cancel)
        again = await delivery.deliveries.BatchCancelDeliveries(cancel)
        created = await delivery.create(early)

        assert list(first.canceled) == list(again.canceled) == [True, True, False]
        assert created == 0
        shown = await delivery.get(key_of(early))
        assert shown.state == pb.Delivery.STATE_CANCELED
        assert shown.campaign == "workspaces/w/campaigns/cart"
        await eventually(
            lambda: peers.ingest.types() == ["message_canceled", "message_canceled", "message_sent"]
        )
        assert str(key_of(early)) not in hooks.contents()


async def test_a_template_that_names_nothing_of_text_harms_no_other(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        odd = """{"a": {{ event["\\x00b"]|tojson }}}"""
        await delivery.save(a_template("odd", hook=hooks.address, body=odd))
        bad, good = a_delivery(template="odd"), a_delivery()

        await delivery.create(bad, good)

        shown = await delivery.reaches(key_of(bad), pb.Delivery.STATE_FAILED)
        assert shown.error == "DATA_MISSING: event.\ufffdb"
        await delivery.reaches(key_of(good), pb.Delivery.STATE_SENT)
        assert len(hooks.contents()) == 1
