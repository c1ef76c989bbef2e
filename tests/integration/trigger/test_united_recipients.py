"""Two recipients of one event who turn out to be one person keep what they were told."""

from beckon.trigger.v1.campaign_service_pb2 import Recipient

from tests.integration.trigger.house import House, a_campaign, an_event


async def test_two_recipients_of_one_event_may_be_united(house: House) -> None:
    recipient = Recipient(event_property="watchers")
    await house.launch(a_campaign(recipient=recipient, reentry=0, delay=3600))
    await house.append(an_event(profile="ana", watchers=["ben", "b2"]))
    await house.work()

    house.memory.profile.unite("ben", "b2")
    await house.append(
        an_event("profile_merged", profile="ben", member_ids=["b2", "ben"], version=1)
    )
    await house.work()
    house.clock.advance(hours=2)
    await house.work()

    assert len(house.out) == 1
