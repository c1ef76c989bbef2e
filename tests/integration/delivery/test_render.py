"""Makes sure that what a template costs is paid by its own messages."""

from datetime import timedelta

import msgspec

from services.delivery.model import Source
from services.delivery.render import Renderer, RenderLimits, Work
from services.delivery.render.wire import Fault

SLOW = Source(
    subject="s",
    text="{% for a in event.rows %}{% for b in event.rows %}{{ a }}{% endfor %}{% endfor %}",
)
SOURCES = {"slow": SLOW, "good": Source(subject="s", text="hello")}


def works(template: str, count: int, *, rows: int = 700) -> list[Work]:
    data = msgspec.json.encode({"event": {"rows": ["-"] * rows}})
    return [Work(template, 0, f"{template}-{number}", "cart", data) for number in range(count)]


async def cost_of_one() -> timedelta:
    async with Renderer(RenderLimits(cpu=timedelta(seconds=10))) as renderer:
        await renderer.render(works("slow", 1), SOURCES)
        turn = await renderer._turn(renderer._job(works("slow", 4), SOURCES))
    return timedelta(microseconds=turn.wall_ns // 4000)


async def test_a_template_that_is_slow_without_a_culprit_rests() -> None:
    # Each message alone may pass, no two of them together.
    limits = RenderLimits(cpu=await cost_of_one() * 1.5)
    async with Renderer(limits) as renderer:
        first = await renderer.render([*works("slow", 64), *works("good", 2)], SOURCES)
        await renderer.render(works("good", 1), SOURCES)
        child = renderer._child
        second = await renderer.render([*works("good", 1), *works("slow", 64)], SOURCES)

        assert [one.text for one in first[64:]] == ["hello", "hello"]
        assert first[63].fault == Fault.TEMPLATE_TOO_COSTLY
        assert second[0].text == "hello"
        assert {one.fault for one in second[1:]} == {Fault.TEMPLATE_TOO_COSTLY}
        # Nothing of the slow one was tried again.
        assert renderer._child is child


async def test_two_dear_messages_spoil_none_of_the_others() -> None:
    many = works("slow", 64, rows=1)
    many[5], many[40] = works("slow", 2, rows=20000)
    async with Renderer(RenderLimits(cpu=timedelta(seconds=0.3))) as renderer:
        rendered = await renderer.render(many, SOURCES)
        again = await renderer.render(many[:5], SOURCES)

    dear = [number for number, one in enumerate(rendered) if one.fault]
    assert dear == [5, 40]
    assert not any(one.fault for one in again)


async def test_half_a_character_fails_its_own_message_only() -> None:
    sources = SOURCES | {"half": Source(subject="s", text='{{ "\\ud800" }}')}
    async with Renderer(RenderLimits()) as renderer:
        half, good = await renderer.render(
            [*works("half", 1, rows=1), *works("good", 1, rows=1)], sources
        )

    assert half.fault == Fault.DATA_INVALID
    assert good.text == "hello"
