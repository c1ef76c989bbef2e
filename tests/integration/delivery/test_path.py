"""Makes sure that what is queued goes out, once, and that everybody hears of it."""

from pathlib import Path

from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.throttle.v1.throttle_service_pb2 import Settlement
from beckon.type.v1.trace_context_pb2 import TraceContext

from tests.integration.delivery.peers import Hooks, Inbox, Peers
from tests.integration.delivery.service import (
    EMAIL,
    WEBHOOK,
    a_delivery,
    a_template,
    eventually,
    key_of,
    service,
)


async def test_a_webhook_goes_out_with_its_key_and_its_place_in_the_trace(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        request = a_delivery(WEBHOOK, trace=TraceContext(trace_id=b"t" * 16, sampled=True))

        created = await delivery.create(request)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        assert created == 1
        assert shown.attempt_count == 1
        assert shown.HasField("send_time")
        [post] = hooks.posts
        assert post.key == str(key_of(request))
        assert post.body == b'{"to": "ana", "value": 120}'
        assert post.headers["traceparent"].startswith(f"00-{(b't' * 16).hex()}-")
        await eventually(lambda: peers.ingest.types() == ["message_sent"])
        await eventually(
            lambda: (
                peers.throttle.settlements == {request.delivery_id: Settlement.OUTCOME_COMMITTED}
            )
        )
        assert await delivery.stop() == 0


async def test_a_mail_goes_to_the_address_the_profile_has_now(
    tmp_path: Path, database_url: str, peers: Peers, inbox: Inbox
) -> None:
    async with service(tmp_path, database_url, peers.address, inbox=inbox.address) as delivery:
        await delivery.save(a_template())
        peers.profiles.emails["workspaces/w/profiles/ana"] = "ana@example.com"
        request = a_delivery(EMAIL)

        await delivery.create(request)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        [mail] = inbox.mails
        assert mail.recipients == ["ana@example.com"]
        assert b"Subject: Hi there\r\n" in mail.content
        assert b"You left 2 things." in mail.content
        assert shown.provider_message_id == f"<{key_of(request)}@localhost>"
        assert "ana@example.com" not in delivery.log.read_text()
