"""Draws a trace as a tree: what happened within what, when, and how long it took."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cli.durations import short
from stack.spans import Node, Span, tree

_SHARE = 24


@dataclass(frozen=True, slots=True)
class Twig:
    """One line of a tree."""

    branch: str
    """The lines that lead to it."""
    span: Span


def draw(spans: Sequence[Span]) -> list[str]:
    """Return the lines of a trace: tree, service, offset from its beginning, duration, bar.

    Offsets and durations are those the spans tell, over delays of days as well.
    """
    if not spans:
        return []
    begin = min(span.start_time for span in spans)
    end = max(span.end_time for span in spans)
    twigs = [twig for root in tree(spans) for twig in _twigs(root, "", "")]
    rows = [
        (
            f"{twig.branch}{twig.span.name}",
            twig.span.service,
            f"+{short(_span(twig.span.start_time - begin))}",
            short(twig.span.duration),
            _bar(twig.span, begin, end),
            f"  error: {twig.span.error}" if twig.span.error else "",
        )
        for twig in twigs
    ]
    names, services, offsets, durations = (
        max(len(row[column]) for row in rows) for column in range(4)
    )
    return [
        f"{name:<{names}}  {service:<{services}}  {offset:>{offsets}}  {duration:>{durations}}"
        f"  {bar}{error}".rstrip()
        for name, service, offset, duration, bar, error in rows
    ]


def summary(spans: Sequence[Span]) -> str:
    """Return one line about a trace."""
    begin = min(span.start_time for span in spans)
    end = max(span.end_time for span in spans)
    services = sorted({span.service for span in spans})
    return f"{len(spans)} spans in {short(_span(end - begin))}, {', '.join(services)}"


def _twigs(node: Node, branch: str, below: str) -> Iterator[Twig]:
    yield Twig(branch, node.span)
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _twigs(
            child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")
        )


def _bar(span: Span, begin: int, end: int) -> str:
    scale = _SHARE / max(end - begin, 1)
    start = min(int((span.start_time - begin) * scale), _SHARE - 1)
    width = max(1, round((span.end_time - span.start_time) * scale))
    return "·" * start + "█" * min(width, _SHARE - start) + "·" * max(_SHARE - start - width, 0)


def _span(nanoseconds: int) -> timedelta:
    return timedelta(microseconds=nanoseconds / 1000)
