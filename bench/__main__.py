"""`python -m bench`: measures both sides in turn, prints a table, writes `bench/results.json`."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.environment import describe
from bench.parts import PARTS
from bench.record import MEANINGS, TARGETS, Record, nested

RESULTS = Path(__file__).with_name("results.json")

# One run says little on a machine that does other things as well.
ROUNDS = 3


def main() -> int:
    """Measure; the exit code is 1 when a part could not be measured, never because a target was missed."""
    options = _options()
    parts = options.only.split(",") if options.only else list(PARTS)
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        print(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    environment = describe()
    record = Record()
    for part in parts:
        asyncio.run(_measure(part, options.rounds, record))
    _write(options.results, record, environment, parts)
    _print(record)
    return 1 if record.failures else 0


async def _measure(part: str, rounds: int, record: Record) -> None:
    """Measure one part in rounds; what fails is noted and the other parts go on."""
    console = Console(stderr=True)
    for number in range(1, rounds + 1):
        console.print(f"[dim]{part}: round {number} of {rounds}[/]")
        try:
            await PARTS[part](record)
        except Exception as error:  # noqa: BLE001 — the boundary of a part.
            traceback.print_exc()
            record.failures.append(f"{part}, round {number}: {type(error).__name__}: {error}")
            return


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"parts, with commas: {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each side, in turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results go")
    return parser.parse_args()


def _write(
    results: Path, record: Record, environment: dict[str, str | int | float], parts: Sequence[str]
) -> None:
    """Write the results; those of parts that were not measured now are kept."""
    document = msgspec.json.decode(results.read_bytes()) if results.exists() else {}
    spreads = record.spreads()
    measured = datetime.now(UTC).isoformat(timespec="seconds")
    kept = {part: value for part, value in document.items() if part in PARTS and part not in parts}
    old = {
        key: value
        for key, value in document.get("spread", {}).items()
        if key.split(".")[0] not in parts
    }
    old_environments = {
        part: value for part, value in document.get("environment", {}).items() if part in kept
    }
    document = {
        **kept,
        **nested(spreads),
        "spread": {**old, **spreads},
        "missed": [
            *(line for line in document.get("missed", []) if line.split(".")[0] in kept),
            *record.missed(),
        ],
        "failures": record.failures,
        "cpu_profile": {
            **{k: v for k, v in document.get("cpu_profile", {}).items() if k.split(".")[0] in kept},
            **record.profiles,
        },
        "meanings": MEANINGS,
        "environment": {
            **old_environments,
            **{part: {"time": measured, **environment} for part in parts},
        },
    }
    results.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _print(record: Record) -> None:
    # Into a file the table is as wide as it needs to be.
    console = Console(width=None if sys.stdout.isatty() else 120)
    targets = {target.key: target for target in TARGETS}
    table = Table(title="Benchmark: median of the rounds, and their spread")
    for heading in ("", "median", "lowest", "highest", "target", ""):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for key, value in record.spreads().items():
        target = targets.get(key)
        wanted = (
            ""
            if target is None
            else f"{'≥' if target.at_least is not None else '≤'} {target.bound:g}"
        )
        verdict = (
            "" if target is None else "met" if target.met_by(value.median) else "[red]missed[/]"
        )
        table.add_row(
            key, f"{value.median:,.4g}", f"{value.low:,.4g}", f"{value.high:,.4g}", wanted, verdict
        )
    console.print(table)
    for name, profile in record.profiles.items():
        parts = ", ".join(f"{kind} {cost:g}" for kind, cost in profile.items() if cost >= 0.01)
        console.print(f"[dim]CPU, {name}:[/] {parts}")
    for line in record.missed():
        console.print(f"[red]missed:[/] {line}")
    for line in record.failures:
        console.print(f"[red]not measured:[/] {line}")


if __name__ == "__main__":
    sys.exit(main())
