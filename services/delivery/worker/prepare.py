"""Makes messages of deliveries: template, address, rendering. What cannot be made says why."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, Protocol, TypeVar

from mesh.clock import Clock
from mesh.tracing import format_traceparent, span_id
from services.delivery.clients import Addresses
from services.delivery.model import AllowedHost, Channel, Claimed, Source, Target
from services.delivery.providers import Email, Webhook
from services.delivery.render import Rendered, Renderer, Work
from services.delivery.rules import host_allowed, parse_target
from services.delivery.worker.sources import Sources

_N = TypeVar("_N")

ADDRESS_MISSING = "ADDRESS_MISSING"
TEMPLATE_MISSING = "TEMPLATE_MISSING"
HOST_FORBIDDEN = "HOST_FORBIDDEN"

# Names of the spans of one delivery; others find them by these.
DELIVER = "deliver"
RENDER = "render"
SEND = "send"


class Prepared(NamedTuple, Generic[_N]):
    """A delivery with its message."""

    delivery: Claimed
    message: _N
    destination: str
    """Who shares its fate: a slow destination slows its own only."""


class Preparation(NamedTuple, Generic[_N]):
    """What became of a batch."""

    ready: list[Prepared[_N]]
    failed: list[tuple[Claimed, str]]
    """With the reason."""
    begun: datetime
    ended: datetime
    """When it was rendered."""


class Preparer(Protocol[_N]):
    """Makes messages of one channel."""

    async def prepare(self, deliveries: Sequence[Claimed]) -> Preparation[_N]:
        """Return the messages, and why others have none.

        Raises:
            MeshError: A peer is away; none was prepared.
            RenderUnavailable: The machine is too busy; none was prepared.
        """
        ...


def attempt_subject(delivery: Claimed) -> bytes:
    """Return what the send span of this try is about."""
    return delivery.delivery_id.bytes + delivery.fence.to_bytes(4, "big")


class _Base:
    def __init__(self, *, sources: Sources, renderer: Renderer, clock: Clock) -> None:
        self._sources = sources
        self._renderer = renderer
        self._clock = clock

    async def _sourced(
        self, deliveries: Sequence[Claimed], failed: list[tuple[Claimed, str]]
    ) -> list[tuple[Claimed, str, Source]]:
        held = await self._sources.get({(one.workspace, one.template) for one in deliveries})
        found = []
        for delivery in deliveries:
            source = held.get((delivery.workspace, delivery.template))
            if source is None:
                failed.append((delivery, TEMPLATE_MISSING))
            else:
                found.append((delivery, *source))
        return found

    async def _made(
        self,
        channel: Channel,
        sourced: Sequence[tuple[Claimed, str, Source]],
        failed: list[tuple[Claimed, str]],
        make: Callable[[Claimed, Source, Rendered], Prepared[_N]],
    ) -> Preparation[_N]:
        """Render all in one turn, and make messages of what could be."""
        begun = self._clock.now()
        works = [
            Work(key, channel, str(delivery.delivery_id), delivery.campaign, delivery.data)
            for delivery, key, _ in sourced
        ]
        sources = {key: source for _, key, source in sourced}
        rendered = await self._renderer.render(works, sources) if works else []
        ended = self._clock.now()
        ready = []
        for (delivery, _, source), texts in zip(sourced, rendered, strict=True):
            if texts.fault:
                failed.append((delivery, _reason(texts)))
            else:
                ready.append(make(delivery, source, texts))
        return Preparation(ready, failed, begun, ended)


class EmailPreparer(_Base):
    """Makes mails."""

    def __init__(
        self,
        *,
        sources: Sources,
        renderer: Renderer,
        clock: Clock,
        addresses: Addresses,
        sender: str,
    ) -> None:
        """Take who knows addresses, and the sender where a template names none."""
        super().__init__(sources=sources, renderer=renderer, clock=clock)
        self._addresses = addresses
        self._sender = sender

    async def prepare(self, deliveries: Sequence[Claimed]) -> Preparation[Email]:
        """Ask for all addresses in one call, render all in one turn."""
        failed: list[tuple[Claimed, str]] = []
        emails = await self._addresses.emails([(one.workspace, one.profile) for one in deliveries])
        addressed = []
        email_of = {}
        for delivery, email in zip(deliveries, emails, strict=True):
            if email:
                addressed.append(delivery)
                email_of[delivery.delivery_id] = email
            else:
                failed.append((delivery, ADDRESS_MISSING))
        sourced = []
        for each in await self._sourced(addressed, failed):
            if each[2].subject:
                sourced.append(each)
            else:
                # The template has no part for the channel.
                failed.append((each[0], TEMPLATE_MISSING))

        def make(delivery: Claimed, source: Source, texts: Rendered) -> Prepared[Email]:
            message = Email(
                str(delivery.delivery_id),
                source.sender or self._sender,
                email_of[delivery.delivery_id],
                texts.subject,
                texts.text,
                texts.html,
            )
            return Prepared(delivery, message, "relay")

        return await self._made(Channel.EMAIL, sourced, failed, make)


class WebhookPreparer(_Base):
    """Makes posts."""

    def __init__(
        self,
        *,
        sources: Sources,
        renderer: Renderer,
        clock: Clock,
        allowed: Sequence[AllowedHost],
    ) -> None:
        """Take the allow-list."""
        super().__init__(sources=sources, renderer=renderer, clock=clock)
        self._allowed = allowed

    async def prepare(self, deliveries: Sequence[Claimed]) -> Preparation[Webhook]:
        """Render all in one turn."""
        failed: list[tuple[Claimed, str]] = []
        sourced = []
        targets: dict[str, Target] = {}
        for each in await self._sourced(deliveries, failed):
            url = each[2].url
            if not url:
                failed.append((each[0], TEMPLATE_MISSING))
                continue
            target = targets.get(url)
            if target is None:
                target = targets[url] = parse_target(url)
            # The list may have become shorter since the template was saved.
            if host_allowed(target, self._allowed):
                sourced.append(each)
            else:
                failed.append((each[0], HOST_FORBIDDEN))

        def make(delivery: Claimed, source: Source, texts: Rendered) -> Prepared[Webhook]:
            target = targets[source.url]
            message = Webhook(
                str(delivery.delivery_id), target, texts.body.encode(), _traceparent(delivery)
            )
            return Prepared(delivery, message, f"{target.host}:{target.port}")

        return await self._made(Channel.WEBHOOK, sourced, failed, make)


def _traceparent(delivery: Claimed) -> str:
    trace_id = delivery.trace_id
    if trace_id is None:
        return ""
    span = span_id(trace_id, SEND, attempt_subject(delivery))
    return format_traceparent(trace_id, span, sampled=delivery.sampled)


def _reason(texts: Rendered) -> str:
    return f"{texts.fault}: {texts.detail}" if texts.detail else texts.fault
