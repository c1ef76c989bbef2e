"""Makes sure that an event leads to exactly the message that its campaign says."""

import msgspec

from tests.integration.trigger.house import House, a_campaign, an_event


async def test_an_event_leads_to_one_delivery_with_its_data(house: House) -> None:
    await house.launch(a_campaign(filter="event.properties.value > 100.0"))
    await house.append(an_event(id="e", value=120, name="Ana"))

    await house.work()

    [created] = house.out
    data = msgspec.json.decode(created.data_json)
    assert created.profile == "workspaces/acme/profiles/ana"
    assert created.campaign == "workspaces/acme/campaigns/cart"
    assert created.template == "workspaces/acme/templates/cart"
    assert data["event"]["properties"] == {"value": 120, "name": "Ana"}
    assert data["profile"]["counters"] == {"cart_filled": {"count": 1}}
    decision = await house.decision("e")
    assert decision.State.Name(decision.state) == "STATE_SENT"
    assert [gate.name for gate in decision.gates] == [
        "campaign_active",
        "schedule",
        "lateness",
        "recipient",
        "filter",
        "exception",
        "reentry",
        "consent",
        "frequency_cap",
    ]
    assert all(gate.passed for gate in decision.gates)
