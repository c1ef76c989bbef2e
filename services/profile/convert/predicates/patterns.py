"""Regular expressions of RE2 as PostgreSQL understands them: those few that mean the same in both.

PostgreSQL's engine goes back over the text for references and loops within loops; RE2 never does.
What is let through has neither, so that no pattern costs more than the text is long.
"""

import re

LENGTH_MAX = 200
_REPEATS_MAX = 50

_CLASSES = {
    "d": "0-9",
    "w": "0-9A-Za-z_",
    "s": "\\t\\n\\f\\r ",
}
_PLAIN_ESCAPES = frozenset(r"\.+*?()|[]{}^$-/@:_ ")
_CONTROL = {"t": "\\t", "n": "\\n", "r": "\\r", "f": "\\f"}
_COUNT = re.compile(r"\{(\d{1,3})(,(\d{0,3}))?\}")


class NotPortable(ValueError):
    """The pattern has what the two engines do not share; the text says what."""


def translate(pattern: str) -> str:
    """Return the pattern for PostgreSQL's `~`.

    Raises:
        NotPortable: It holds more than characters, classes, groups, `|`, `^`, `$` and
            repeats that are not inside one another.
    """
    if len(pattern) > LENGTH_MAX:
        message = f"a pattern has at most {LENGTH_MAX} characters"
        raise NotPortable(message)
    return _Translator(pattern).whole()


class _Translator:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def whole(self) -> str:
        translated, _ = self._alternatives(depth=0)
        if self._at < len(self._pattern):
            raise NotPortable("an unopened )")
        # Its own options are off: what follows is a pattern, not a literal.
        return f"(?:{translated})" if translated else "(?:)"

    def _alternatives(self, *, depth: int) -> tuple[str, bool]:
        """Translate up to the closing bracket; say too whether anything in it repeats."""
        if depth > 8:
            raise NotPortable("groups nest deeper than 8")
        made: list[str] = []
        repeats = False
        while self._at < len(self._pattern) and self._pattern[self._at] != ")":
            if self._pattern[self._at] == "|":
                self._at += 1
                made.append("|")
                continue
            if self._pattern[self._at] in "^$":
                made.append(self._next())
                if self._peek() in ("*", "+", "?", "{"):
                    raise NotPortable("a repeated ^ or $")
                continue
            atom, inner = self._atom(depth=depth)
            count = self._count()
            if count and inner:
                raise NotPortable("a repeat inside a repeat")
            repeats = repeats or inner or bool(count)
            made.append(atom + count)
        return "".join(made), repeats

    def _atom(self, *, depth: int) -> tuple[str, bool]:
        sign = self._next()
        match sign:
            case "(":
                return self._group(depth=depth)
            case "[":
                return self._bracket(), False
            case ".":
                return "[^\\n]", False
            case "\\":
                return self._escape(), False
            case "*" | "+" | "?" | "{":
                raise NotPortable("a repeat of nothing")
            case "]" | "}":
                return "\\" + sign, False
            case _:
                return sign, False

    def _group(self, *, depth: int) -> tuple[str, bool]:
        if self._peek() == "?":
            self._next()
            if self._peek() != ":":
                raise NotPortable("(? with anything but :")
            self._next()
        inside, repeats = self._alternatives(depth=depth + 1)
        if self._peek() != ")":
            raise NotPortable("an unclosed (")
        self._next()
        return f"(?:{inside})", repeats

    def _bracket(self) -> str:
        made = "["
        if self._peek() == "^":
            made += self._next()
        members = ""
        while self._peek() not in ("]", ""):
            sign = self._next()
            if sign == "[":
                raise NotPortable("[ inside [ ]")
            if sign == "\\":
                members += self._escape(inside=True)
            elif sign == "-" and members and self._peek() != "]":
                members += "-" + self._range_end()
            else:
                members += "\\" + sign if sign in "^-" else sign
        if self._peek() == "" or not members:
            raise NotPortable("an unclosed or empty [ ]")
        self._next()
        return f"{made}{members}]"

    def _range_end(self) -> str:
        begin, end = self._pattern[self._at - 2], self._next()
        if not (begin.isascii() and begin.isalnum() and end.isascii() and end.isalnum()):
            raise NotPortable("a range of other than letters or digits")
        if end < begin:
            raise NotPortable("a range that ends before it begins")
        return end

    def _escape(self, *, inside: bool = False) -> str:
        sign = self._next()
        if sign in _CLASSES:
            return _CLASSES[sign] if inside else f"[{_CLASSES[sign]}]"
        if sign in ("D", "W", "S") and not inside:
            return f"[^{_CLASSES[sign.lower()]}]"
        if sign in _CONTROL:
            return _CONTROL[sign]
        if sign and sign in _PLAIN_ESCAPES:
            return sign if sign in " @:_/" else "\\" + sign
        message = f"the escape \\{sign}"
        raise NotPortable(message)

    def _count(self) -> str:
        sign = self._peek()
        if sign in ("*", "+", "?"):
            self._next()
            found = sign
        elif sign == "{":
            found = self._bounds()
        else:
            return ""
        if self._peek() in ("*", "+", "?", "{"):
            raise NotPortable("a repeat of a repeat, or a lazy one")
        return found

    def _bounds(self) -> str:
        match = _COUNT.match(self._pattern, self._at)
        if match is None:
            raise NotPortable("a { that counts nothing")
        least, most = int(match[1]), int(match[3] or match[1])
        if max(least, most) > _REPEATS_MAX or most < least:
            message = f"a count above {_REPEATS_MAX} or upside down"
            raise NotPortable(message)
        self._at = match.end()
        return match[0]

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        sign = self._peek()
        if not sign:
            raise NotPortable("an end where more must follow")
        self._at += 1
        return sign
