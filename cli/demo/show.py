"""What the demonstration prints."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from beckon.delivery.v1.delivery_service_pb2 import Delivery
from beckon.trigger.v1.decision_service_pb2 import Decision
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from cli.demo.account import Account
from cli.output import enum_text, last
from cli.traces import draw, summary
from stack.spans import Span

_console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """A row of the table."""

    campaign: str
    channel: str
    outcome: str


def step(text: str) -> None:
    """Say what begins."""
    _console.print(f"[bold cyan]==>[/] [bold]{escape(text)}[/]")


def result(text: str) -> None:
    """Say how a step went."""
    _console.print(f"    {escape(text)}")


def note(text: str) -> None:
    """Say something on the side."""
    _console.print(f"    [dim]{escape(text)}[/]")


def line(text: str) -> None:
    """Print a line of a story."""
    _console.print(escape(text), soft_wrap=True)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show how far something is, to who watches."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def rows(decisions: Iterable[Decision], deliveries: Iterable[Delivery]) -> Mapping[Kind, int]:
    """Count messages by campaign, channel and outcome; refusals by the gate that refused."""
    counts: Counter[Kind] = Counter()
    channels: dict[str, str] = {}
    for delivery in deliveries:
        campaign = last(delivery.campaign)
        channels[campaign] = enum_text(delivery, "channel")
        outcome = enum_text(delivery, "state")
        error = f": {delivery.error}" if delivery.error else ""
        counts[Kind(campaign, channels[campaign], outcome + error)] += 1
    for decision in decisions:
        refused = [gate for gate in decision.gates if not gate.passed]
        if enum_text(decision, "state") in {"refused", "exited"} and refused:
            campaign = last(decision.campaign)
            how = _REFUSALS.get(refused[-1].name, f"refused by {refused[-1].name}")
            if "restarted" in refused[-1].detail:
                how = "restarted by a later item"
            counts[Kind(campaign, channels.get(campaign, "-"), how)] += 1
    return counts


def table(counts: Mapping[Kind, int]) -> None:
    """Print the messages by campaign, channel and outcome."""
    shown = Table(
        title="Carts and orders: messages, and what never became one",
        title_justify="left",
    )
    for heading in ("campaign", "channel", "outcome"):
        shown.add_column(heading)
    shown.add_column("count", justify="right")
    before = ""
    for kind, count in sorted(counts.items()):
        if before and kind.campaign != before:
            shown.add_section()
        before = kind.campaign
        style = "green" if kind.outcome == "sent" else None
        shown.add_row(kind.campaign, kind.channel, escape(kind.outcome), f"{count:,}", style=style)
    _console.print(shown)


def trace(title: str, spans: Sequence[Span]) -> None:
    """Print one whole trace."""
    _console.print()
    if not spans:
        note(f"no spans of {title} at the collector")
        return
    _console.print(f"[bold]One message's trace: {escape(title)}[/] [dim]({summary(spans)})[/]")
    for line in draw(spans):
        _console.print(escape(line), soft_wrap=True)
    _console.print()


def verdict(events: int, account: Account) -> None:
    """Print the last line, for people and programs."""
    line = (
        f"demo: events={events} messages={account.messages} expected={account.expected}"
        f" lost={len(account.lost)} duplicate={account.duplicate}"
    )
    sys.stdout.flush()
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


_REFUSALS = {
    "filter": "refused: filter",
    "consent": "refused: consent",
    "frequency_cap": "refused: frequency cap",
    "exception": "stopped: exception",
}
