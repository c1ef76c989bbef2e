"""Plays a history by the engine's own rules, on the simulator."""

from datetime import timedelta

from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.type.v1.channel_pb2 import Channel

from services.throttle.model import Channel as ThrottleChannel
from services.throttle.model import FrequencyCap, OnBreach, Rolling
from simulator.engine import Engine
from tests.model.histories import MINUTE, History, Rules, Step
from tests.model.reference import Sent


def campaign_of(rules: Rules) -> Campaign:
    """Return the campaign of a history."""
    campaign = Campaign()
    campaign.trigger.event_type = "filled"
    if rules.filter_above is not None:
        campaign.trigger.filter = f"event.properties.value > {rules.filter_above}"
    campaign.message.channel = Channel.CHANNEL_EMAIL
    campaign.message.template = "workspaces/main/templates/news"
    campaign.delay.FromTimedelta(rules.delay * MINUTE)
    campaign.time_to_live.FromTimedelta(rules.lives * MINUTE)
    if rules.again_after is not None:
        campaign.reentry_interval.FromTimedelta(rules.again_after * MINUTE)
        campaign.reentry_interval.SetInParent()
    _except(campaign, rules)
    if rules.starts:
        campaign.start_time.FromDatetime(rules.starts)
    if rules.ends:
        campaign.end_time.FromDatetime(rules.ends)
    if rules.local_time:
        campaign.wait.local_time = "{:02}:{:02}".format(*rules.local_time)
    if rules.opens:
        begin, end = rules.opens
        campaign.send_window.ranges.add(start=f"{begin:02}:00", end=f"{end:02}:00")
    if rules.large_above is not None:
        variant = campaign.variants.add(
            id="large", filter=f"event.properties.value > {rules.large_above}"
        )
        variant.message.CopyFrom(campaign.message)
    if rules.gathers:
        campaign.ClearField("delay")
        campaign.digest.fixed.FromTimedelta(rules.gathers * MINUTE)
        campaign.digest.object_property = "order"
        campaign.digest.undo.event_type = "unfilled"
    return campaign


def play(history: History) -> list[Sent]:
    """Return the messages that go out."""
    engine = Engine(history.begin)
    if history.rules.cap:
        limit, minutes, waits = history.rules.cap
        engine.gatekeeper.keep(
            FrequencyCap(
                workspace="main",
                cap_id="cap",
                channel=ThrottleChannel.EMAIL,
                limit=limit,
                window=Rolling(minutes * MINUTE),
                on_breach=OnBreach.DEFER if waits else OnBreach.SUPPRESS,
            )
        )
    for who, zone in history.zones.items():
        engine.say(who, "email", "subscribed")
        engine.write(who, {"time_zone": zone} if zone else {})
    engine.put_campaign("news", campaign_of(history.rules))
    for step in history.steps:
        engine.advance(step.time, inclusive=False)
        _happen(engine, step)
    engine.advance(engine.now + timedelta(days=10))
    return [
        Sent(
            one.time,
            one.profile,
            one.event,
            one.variant or "default",
            one.digest["count"] if one.digest else 0,
        )
        for one in engine.messages
    ]


def _happen(engine: Engine, step: Step) -> None:
    match step.what:
        case "pause":
            engine.move_campaign("news", "paused")
        case "launch":
            engine.move_campaign("news", "active")
        case "zone":
            engine.write(step.who, {"time_zone": step.word})
        case "merge":
            engine.unite(step.who, step.word)
        case "again":
            pass
        case _:
            engine.hear(
                step.what,
                step.who,
                {"value": step.value, "order": step.order},
                event_id=step.id,
                occur_time=step.occurred,
            )


def _except(campaign: Campaign, rules: Rules) -> None:
    if rules.stops:
        campaign.exceptions.add(event_type="bought")
    if rules.stops_same:
        campaign.exceptions.add(
            event_type="returned", filter="event.properties.order == trigger.properties.order"
        )
    if rules.debounces:
        campaign.exceptions.add(event_type="filled")
