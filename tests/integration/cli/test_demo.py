"""Makes sure that the demonstration plays to its end and that its account is of what arrived."""

from datetime import timedelta
from pathlib import Path

import pytest

from cli.demo.run import RULES, Settings, play, slower
from mesh.clock import SystemClock

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.timeout(240)  # Where twelve seconds do not do, it plays again with a minute.
async def test_a_short_demonstration_comes_out_as_expected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(examples=EXAMPLES, rules=slower(RULES, timedelta(seconds=12)), events=2000)

    good = await play(settings, SystemClock())

    out = capsys.readouterr().out
    said = out.splitlines()
    assert good, said
    assert said[-1].startswith("demo: events=20")
    assert said[-1].endswith(" lost=0 duplicate=0")
    counts = dict(pair.split("=") for pair in said[-1].removeprefix("demo: ").split())
    assert counts["messages"] == counts["expected"] != "0"
    for words in (
        "“Ana commented on your review of Douro Tinto 2019”",
        "review-comment: consent (unsubscribed from email)",
        "“2 news of your connections”: Dana: now on her own, Ben: now at a vineyard",
        "“20 % off until Epiphany, ",
        "held  promotion: send_window (closed at ",
        "“It has been a while, Uma”",
        "win-back: exception (",
        "“Welcome back, Vera”",
        "“Ana and 13 others liked your photo”",
        "likes: digest (0 gathered, 1 taken back)",
    ):
        assert words in out
