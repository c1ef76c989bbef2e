"""The port to those who carry messages."""

from typing import NamedTuple, Protocol, TypeVar

from services.delivery.model import Answer, Target

_M_contra = TypeVar("_M_contra", contravariant=True)


class Email(NamedTuple):
    """A mail, rendered."""

    delivery_id: str
    sender: str
    recipient: str
    subject: str
    text: str
    html: str


class Webhook(NamedTuple):
    """A POST, rendered."""

    delivery_id: str
    target: Target
    body: bytes
    traceparent: str


class Provider(Protocol[_M_contra]):
    """Carries messages of one channel."""

    repeat_safe: bool
    """Whether a repeat under the same delivery id is dropped on the other side."""

    async def send(self, message: _M_contra) -> Answer:
        """Hand one message over and return what came of it, within the provider's timeout.

        Never raises for what the other side does: no answer is an answer.
        """
        ...
