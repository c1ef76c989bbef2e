"""Makes sure that what is sent is for whom it is sent to: encrypted on its way, and in no log."""

from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest
import trustme
from aiohttp import web
from beckon.delivery.v1 import delivery_service_pb2 as pb

from tests.integration.delivery import peers as fakes
from tests.integration.delivery.peers import Hooks, Inbox, Mail, Peers, Post
from tests.integration.delivery.service import (
    EMAIL,
    WEBHOOK,
    a_delivery,
    a_template,
    key_of,
    service,
)
from tests.waiting import eventually

# Each of what must stay out of logs holds it.
MARK = "sesame"
LOUD = {"BECKON_LOG_LEVEL": "debug", "DELIVERY_ATTEMPTS_MAX": "5"}


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """An authority that only `tmp_path/ca.pem` tells of."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


def certified(authority: trustme.CA) -> SSLContext:
    """Return what a server on localhost shows."""
    context = SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def test_an_authority_of_our_own_vouches_for_hooks_and_relay(
    tmp_path: Path, database_url: str, peers: Peers, authority: trustme.CA
) -> None:
    async with (
        fakes.hooks(tls=certified(authority)) as hooks,
        fakes.inbox(
            tls_context=certified(authority),
            authenticator=fakes.knowing("beckon", "open up"),
            auth_required=True,
        ) as inbox,
        service(
            tmp_path,
            database_url,
            peers.address,
            hooks="localhost",
            settings={
                "DELIVERY_SMTP_URL": f"smtp+starttls://beckon@localhost:{inbox.address[1]}",
                "DELIVERY_SMTP_PASSWORD": "open up",
                "DELIVERY_SMTP_CA_FILE": str(tmp_path / "ca.pem"),
                "DELIVERY_WEBHOOK_CA_FILE": str(tmp_path / "ca.pem"),
            },
        ) as delivery,
    ):
        template = a_template(hook="anywhere")
        template.webhook.url = f"https://localhost:{hooks.address.rpartition(':')[2]}/hook"
        await delivery.save(template)
        peers.profiles.emails["workspaces/w/profiles/ana"] = "ana@example.com"
        requests = [a_delivery(EMAIL), a_delivery(WEBHOOK)]

        await delivery.create(*requests)

        for request in requests:
            await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        assert (len(inbox.mails), len(hooks.posts)) == (1, 1)
        assert "open up" not in delivery.log.read_text()


async def test_neither_address_nor_content_is_in_the_log_however_it_ends(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks, inbox: Inbox
) -> None:
    inbox.behave_rcpt = lambda address: (
        f"550 no such user {address}" if address.startswith("refused") else "250 OK"
    )

    def take(mail: Mail, server: object) -> object:
        if mail.recipients[0].startswith("later"):
            return f"451 later, {mail.recipients[0]}"
        return None

    inbox.behave_data = take

    def answer(post: Post, request: web.BaseRequest) -> object:
        if b"lost" in post.body and request.transport is not None:
            request.transport.abort()
        if b"refused" in post.body:
            return web.Response(status=422, reason=f"No {MARK}", text=post.body.decode())
        return None

    hooks.behave = answer
    profiles = ["sent", "refused", "later", "broken"]
    for name in profiles:
        peers.profiles.emails[f"workspaces/w/profiles/{name}"] = f"{name}@{MARK}.example"
    peers.profiles.emails["workspaces/w/profiles/broken"] = f"no address, {MARK}"
    async with service(
        tmp_path,
        database_url,
        peers.address,
        hooks=hooks.address,
        inbox=inbox.address,
        settings=LOUD,
    ) as delivery:
        template = a_template(hook=hooks.address)
        template.email.subject = "Subject {{ event.properties.value }}"
        template.email.text = "Text {{ event.properties.value }}"
        template.email.html = "<p>{{ event.properties.value }}</p>"
        template.webhook.url += f"/{MARK}?token={MARK}"
        await delivery.save(template)
        broken = a_template("broken", hook=hooks.address, body="{{ event.properties.value }}")
        await delivery.save(broken)
        mails = [a_delivery(EMAIL, profile=name, value=f"{name}-{MARK}") for name in profiles]
        posts = [a_delivery(value=f"{name}-{MARK}") for name in ("sent", "refused", "lost")]
        unmade = [
            a_delivery(template="broken", value=MARK),
            a_delivery(data=f'{{"event": "{MARK}"'.encode()),
        ]

        await delivery.create(*mails, *posts, *unmade)

        sent = pb.Delivery.STATE_SENT
        failed = pb.Delivery.STATE_FAILED
        ends = [sent, failed, failed, failed, sent, failed, failed, failed, failed]
        for request, state in zip([*mails, *posts, *unmade], ends, strict=True):
            await delivery.reaches(key_of(request), state)
        await eventually(lambda: len(peers.ingest.events) == len(ends))
        assert await delivery.stop() == 0
        # What must not be there was everywhere else.
        assert MARK.encode() in inbox.mails[0].content
        assert MARK in hooks.posts[0].path
        logged = delivery.log.read_text()
        assert str(key_of(mails[1])) in logged
        assert MARK not in logged
