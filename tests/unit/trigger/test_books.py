"""Which campaigns an event may begin."""

from services.trigger.rules import make_book
from tests.unit.trigger.builders import a_plan, an_occurrence


def test_a_message_does_not_begin_the_campaign_that_sent_it() -> None:
    book = make_book([a_plan(campaign=name, trigger_type="message_sent") for name in "ab"])
    receipt = an_occurrence("message_sent", campaign="a")

    assert [plan.campaign for plan in book.begun_by(receipt)] == ["b"]
