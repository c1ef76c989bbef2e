"""`python -m tests.chaos --kills 30`: kill everything in turn while events stream; nothing is lost.

Ends with exit code 0 only if every expected message arrived exactly once, every acknowledged
event is in its history exactly once, and the account of the one message to many balanced at every
look and closed. `gathered` counts events that came in digests, each in one message; `broadcast` who
was sent the one message to many; `unbalanced` looks at its account that were wrong, and one more if
it did not close. `lost` counts messages that did not arrive and events that
are not in their history, acknowledged ones and receipts; `duplicate` counts messages too many
(other than repeats under the same idempotency key, which a receiver drops) and events that are
there twice.
"""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stack.errors import StackError
from tests.chaos.run import Result, run

_SHOWN = 10


def main() -> None:
    """Read the command line, run, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--kills", type=int, default=30, help="how many processes to kill")
    parser.add_argument("--seed", type=int, help="of what happens; chosen if absent")
    parser.add_argument("--state", type=Path, help="folder that keeps everything")
    chosen = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    folder = chosen.state or Path(tempfile.mkdtemp(prefix="beckon-chaos-"))
    tell(f"seed {seed} (again by SEED={seed}); state in {folder}")
    try:
        result = asyncio.run(run(folder, kills=chosen.kills, seed=seed, tell=tell))
    except (StackError, TimeoutError) as error:
        sys.exit(f"chaos: {error or 'events were not acknowledged in time'}; see {folder}")
    if not result.good:
        explain(result)
        tell(f"kept for looking: {folder}")
    elif chosen.state is None:
        shutil.rmtree(folder, ignore_errors=True)
    tell(result.summary)
    sys.exit(0 if result.good else 1)


def explain(result: Result) -> None:
    """Print the first of everything that is wrong, with how it came about."""
    for line in result.trails:
        tell(line)
    several: Mapping[str, Sequence[object]] = {
        "messages nobody was promised": result.verdict.strangers,
        "acknowledged but not in the history": result.history.missing,
        "in the history twice": result.history.twice,
        "in the history after what was sent later": result.history.disordered,
        "in the quarantine": result.quarantined,
        "not accepted": result.refused,
        "looks at the account of the news that were wrong": result.ledger.wrong,
    }
    if not result.ledger.ended:
        tell(f"the account of the news is open: {result.ledger.latest}")
    for what, found in several.items():
        if found:
            tell(f"{what}: {len(found)}")
            for one in found[:_SHOWN]:
                tell(f"  {one}")


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
