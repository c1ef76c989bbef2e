"""The conditions of a filter: what stands between its `&&` and `||`, as it was written."""

import re

_STRING = re.compile(
    r"""([rR]?)(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")""", re.DOTALL
)
_COMMENT = re.compile(r"//[^\n]*")
_OPEN, _CLOSE = "([{", ")]}"


def conditions(source: str) -> list[str]:
    """Return the conditions in their order, without the signs and brackets around them."""
    bare = _STRING.sub(lambda found: "'" * len(found[0]), source)
    bare = _COMMENT.sub(lambda found: " " * len(found[0]), bare)
    return _leaves(source, bare, 0, len(source))


def _leaves(source: str, bare: str, begin: int, end: int) -> list[str]:
    begin, end = _inside(bare, begin, end)
    for sign in ("?", "||", "&&"):
        cuts = _cuts(bare, begin, end, sign)
        if not cuts:
            continue
        if sign == "?":
            # Of which side it is depends on the row: it is one condition.
            break
        edges = [begin, *(edge for cut in cuts for edge in (cut, cut + 2)), end]
        parts = zip(edges[::2], edges[1::2], strict=True)
        return [leaf for part in parts for leaf in _leaves(source, bare, *part)]
    return [_without_comments(source, bare, begin, end)]


def _inside(bare: str, begin: int, end: int) -> tuple[int, int]:
    """Go into brackets around the whole, and past blanks."""
    while True:
        text = bare[begin:end]
        begin, end = begin + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
        if not (bare[begin:end].startswith("(") and _closes_at(bare, begin) == end - 1):
            return begin, end
        begin, end = begin + 1, end - 1


def _closes_at(bare: str, begin: int) -> int:
    depth = 0
    for at in range(begin, len(bare)):
        depth += (bare[at] in _OPEN) - (bare[at] in _CLOSE)
        if depth == 0:
            return at
    return -1


def _cuts(bare: str, begin: int, end: int, sign: str) -> list[int]:
    found, depth = [], 0
    for at in range(begin, end):
        depth += (bare[at] in _OPEN) - (bare[at] in _CLOSE)
        if depth == 0 and bare.startswith(sign, at, end):
            found.append(at)
    return found


def _without_comments(source: str, bare: str, begin: int, end: int) -> str:
    kept = (
        source[at] if bare[at] != " " else (" " if source[at] != "\n" else "\n")
        for at in range(begin, end)
    )
    return "".join(kept).strip()
