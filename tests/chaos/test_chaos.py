"""Makes sure that nothing is lost and nothing comes twice when everything is killed once in turn."""

from pathlib import Path

import pytest

from tests.chaos.herd import TARGETS
from tests.chaos.run import run


# A machine that does other things, too, takes twice the usual half minute.
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_nothing_is_lost_nor_comes_twice_when_everything_dies_in_turn(tmp_path: Path) -> None:
    kills = len(TARGETS) + 1

    result = await run(tmp_path, kills=kills, seed=20, tell=print, audience=500)

    assert result.good, "\n".join([*result.trails, result.summary])
    assert result.kills == kills
    assert result.verdict.expected > 0
    assert result.history.events > 0
    assert result.gathered > 0
    assert result.ledger.latest.sent == 500
