"""Two recipients of one event who turn out to be one person keep what they were told."""

from beckon.trigger.v1.campaign_service_pb2 import Recipient

from tests.integration.trigger.digests import an_unlike, likes
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


async def test_three_ids_may_be_united_at_once(house: House) -> None:
    recipient = Recipient(event_property="watchers")
    await house.launch(a_campaign(recipient=recipient, reentry=0, delay=3600))
    await house.append(an_event(profile="ana", watchers=["b2", "b3"]))
    await house.work()

    house.memory.profile.unite("ben", "b2", "b3")
    merged = an_event("profile_merged", profile="ben", member_ids=["b2", "b3", "ben"], version=1)
    await house.append(merged)
    await house.work()
    house.clock.advance(hours=2)
    await house.work()

    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/ben"]


async def test_what_was_taken_back_from_three_ids_stays_taken_back(house: House) -> None:
    await house.launch(likes())
    await house.append(an_unlike("eve", owner=["b2", "b3"], id="undo"))
    await house.work()

    house.memory.profile.unite("ben", "b2", "b3")
    merged = an_event("profile_merged", profile="ben", member_ids=["b2", "b3", "ben"], version=1)
    await house.append(merged)
    await house.work()

    rows = await house.database.pool.fetch("SELECT profile FROM digest_undos")
    assert [row["profile"] for row in rows] == ["ben"]
