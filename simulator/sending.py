"""What becomes of a message that was released: throttle, delivery, a provider, and the receipt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from beckon.type.v1.channel_pb2 import Channel as WireChannel

from services.throttle.model import Channel, Send
from services.throttle.rules import micros
from services.trigger.convert.sends import send_uid
from services.trigger.model import Enrollment, EnrollmentState, Person
from services.trigger.rules import after_cancel, after_throttle
from simulator.gatekeeper import Gatekeeper
from simulator.people import People
from simulator.post import Answer, Letter, Post
from simulator.records import Message

Tell = Callable[[str, str, Mapping[str, Any], str], None]
"""Has an event heard: type, profile, properties, id."""


@dataclass(slots=True)
class Sending:
    """Carries messages out, and remembers those that a provider accepted."""

    people: People
    gatekeeper: Gatekeeper
    tell: Tell
    post: Post
    messages: list[Message]

    def send(
        self, passage: Enrollment, person: Person, digest: Mapping[str, Any] | None, now: datetime
    ) -> Enrollment:
        """Ask throttle, and hand over what may go; return how the passage stands then."""
        delivery = delivery_of(passage)
        send = Send(
            delivery.bytes,
            passage.key.workspace,
            passage.key.profile,
            Channel(passage.channel),
            passage.critical,
            person.time_zone,
            micros(passage.expire_time),
        )
        members = self.people.members_of(passage.key.profile)
        verdict = self.gatekeeper.reserve(send, members, now)
        after = after_throttle(passage, verdict, now=now)
        if after.state is EnrollmentState.SENT:
            self._hand_over(Letter(delivery, after, word_of(after.channel), digest), now)
        return after

    def cancel(self, passage: Enrollment, now: datetime) -> Enrollment:
        """Stop a message if no provider has it; return how the passage stands then."""
        delivery = delivery_of(passage)
        canceled = self.post.cancel(delivery)
        if canceled:
            self.gatekeeper.release(passage.key.profile, delivery)
        return after_cancel(passage, canceled=canceled, now=now)

    def set_provider(self, channel: str, answer: Answer, now: datetime) -> None:
        """Change how a channel's provider is; what waited for it goes out."""
        self.post.set(channel, answer)
        if answer is not Answer.AWAY:
            for letter in self.post.take(channel):
                self._hand_over(letter, now)

    def expire(self, letter: Letter) -> None:
        """Give up a message that no provider took in time."""
        self.post.cancel(letter.delivery)
        self.gatekeeper.release(letter.passage.key.profile, letter.delivery)
        self._receipt("message_expired", letter)

    def _hand_over(self, letter: Letter, now: datetime) -> None:
        passage = letter.passage
        match self.post.answer(letter.channel):
            case Answer.AWAY:
                self.post.hold(letter)
            case Answer.REFUSE:
                self.gatekeeper.release(passage.key.profile, letter.delivery)
                self._receipt("message_failed", letter)
            case Answer.ACCEPT:
                self.gatekeeper.commit(passage.key.profile, letter.delivery)
                self.messages.append(self._message(letter, now))
                self._receipt("message_sent", letter)

    def _message(self, letter: Letter, now: datetime) -> Message:
        passage = letter.passage
        return Message(
            time=now,
            profile=self.people.name_of(passage.key.profile),
            campaign=passage.key.campaign,
            channel=letter.channel,
            template=passage.template,
            variant=passage.variant,
            event=passage.event.event_id,
            delivery=str(letter.delivery),
            critical=passage.critical,
            digest=letter.digest,
            gates=passage.gates,
        )

    def _receipt(self, type_: str, letter: Letter) -> None:
        properties = {
            "delivery": str(letter.delivery),
            "campaign": letter.passage.key.campaign,
            "channel": letter.channel,
        }
        profile = letter.passage.key.profile
        self.tell(type_, profile, properties, f"{type_}:{letter.delivery}")


def delivery_of(passage: Enrollment) -> UUID:
    """Return the id of the delivery of a passage."""
    return send_uid(passage.key.campaign, passage.origin, passage.event.uid, passage.channel)


def word_of(channel: int) -> str:
    """Return a channel as people write it."""
    name = WireChannel.Name(WireChannel.ValueType(channel))
    return name.removeprefix("CHANNEL_").lower()
