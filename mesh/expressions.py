"""CEL expressions: compiled once, judged many times, bounded in what they may cost.

The only place that knows the library. Its traps are met here: an error comes
back as a value that is truthy, an overrun of the budget as an exception, and a
`datetime` inside a map spoils the whole map, which is why each field of an
event and a profile is a variable of its own, named with a dot.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter, thread_time
from typing import Any

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_optional, ext_strings

from mesh.errors import InvalidArgument

LENGTH_MAX = 4096

# The library bounds iterations, not what one of them does. What makes strings
# grow is left out, and what is left may nest and add only so often: the
# largest string is then some MiB, whatever comes in.
_FORBIDDEN = ("replace", "join", "format", "split", "reverse")
_LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_LOOP_DEPTH_MAX = 3
_PLUS_MAX = 32

# What one evaluation may take when it is tried at save; 1,000 times the usual.
TRIAL_LIMIT = timedelta(milliseconds=10)
# The largest properties that an event can have, in bytes and so in characters.
_TRIAL_SIZE_MAX = 32 << 10

# An evaluation slower than this rests its expression for a hundred times as long,
# so that no expression ever takes more than a hundredth of the process.
SLOW = timedelta(milliseconds=20)
_REST_FACTOR = 100

_STRING = re.compile(
    r"""[rRbB]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\""""
    r"""|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")""",
    re.DOTALL,
)
_COMMENT = re.compile(r"//[^\n]*")
_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\(|\(|\)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(
    r"\b(?:event|trigger|profile)\s*\.\s*(?:properties|attributes|traits)"
    r"((?:\s*\.\s*\??\s*[A-Za-z_]\w*)+)\s*(\(?)"
)
_POSITION = re.compile(r"<input>:(\d+):(\d+): ([^\n]*)")
# The parser counts once while it reads and once while it makes the tree. Only at the beginning:
# further on the library quotes the expression.
_TOO_DEEP = re.compile(
    r"[A-Z_]+: (?:Expression recursion limit exceeded"
    r"|ERROR: <input>:-1:-1: Exceeded max recursion depth)"
)

_MAP = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_EVENT = {
    "id": cel.Type.STRING,
    "type": cel.Type.STRING,
    "occur_time": cel.Type.TIMESTAMP,
    "properties": _MAP,
}
_VARIABLES = {
    **{f"event.{name}": type_ for name, type_ in _EVENT.items()},
    "profile.id": cel.Type.STRING,
    "profile.attributes": _MAP,
    "profile.counters": _MAP,
    "profile.traits": _MAP,
    "profile.time_zone": cel.Type.STRING,
    "profile.locale": cel.Type.STRING,
    "profile.first_seen_time": cel.Type.TIMESTAMP,
    "profile.last_seen_time": cel.Type.TIMESTAMP,
    "now": cel.Type.TIMESTAMP,
}
_TRIGGER_VARIABLES = {f"trigger.{name}": type_ for name, type_ in _EVENT.items()}

_EXTENSIONS = [ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_math.ExtMath()]


def _environment(variables: dict[str, cel.Type]) -> cel.Env:
    env = cel.NewEnv(variables=variables, extensions=_EXTENSIONS)
    # An environment that has compiled nothing yet takes no datetime.
    env.compile("event.occur_time == event.occur_time")
    return env


_ENV = _environment(_VARIABLES)
_ENV_WITH_TRIGGER = _environment(_VARIABLES | _TRIGGER_VARIABLES)
_ENV_OF_EVENTS = _environment({f"event.{name}": type_ for name, type_ in _EVENT.items()})
_INT64_MAX = 2**63 - 1


class ExpressionFailed(Exception):
    """The expression gave no answer; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What an expression sees of an event."""

    id: str
    type: str
    occur_time: datetime
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """What an expression sees of a profile."""

    id: str
    attributes: Mapping[str, Any]
    counters: Mapping[str, Mapping[str, int]]
    time_zone: str = ""
    locale: str = ""
    first_seen_time: datetime | None = None
    last_seen_time: datetime | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)
    """Numbers by the trait's id."""


class Context:
    """The values that expressions are judged over; made once, used by many."""

    __slots__ = ("_activation", "_values")

    def __init__(self, values: dict[str, Any]) -> None:
        """Use `make_context` instead."""
        self._values = values
        self._activation: cel.Activation | None = None

    @property
    def activation(self) -> cel.Activation:
        """The values as the library holds them."""
        if self._activation is None:
            # The wider environment: an activation serves expressions of both.
            self._activation = _ENV_WITH_TRIGGER.Activation(self._values)
        return self._activation

    def plainer(self) -> "Context":
        """Return the same with numbers beyond 64 bits as floating point."""
        return Context({name: _plainer(value) for name, value in self._values.items()})


def make_context(
    *,
    event: EventFacts,
    profile: ProfileFacts,
    now: datetime,
    trigger: EventFacts | None = None,
) -> Context:
    """Return the context for one event, to be reused for every expression over it."""
    values: dict[str, Any] = {
        "event.id": event.id,
        "event.type": event.type,
        "event.occur_time": event.occur_time,
        "event.properties": event.properties,
        "profile.id": profile.id,
        "profile.attributes": profile.attributes,
        "profile.counters": profile.counters,
        "profile.traits": profile.traits,
        "profile.time_zone": profile.time_zone,
        "profile.locale": profile.locale,
        "now": now,
    }
    if profile.first_seen_time is not None:
        values["profile.first_seen_time"] = profile.first_seen_time
    if profile.last_seen_time is not None:
        values["profile.last_seen_time"] = profile.last_seen_time
    if trigger is not None:
        values["trigger.id"] = trigger.id
        values["trigger.type"] = trigger.type
        values["trigger.occur_time"] = trigger.occur_time
        values["trigger.properties"] = trigger.properties
    return Context(values)


def make_event_context(event: EventFacts) -> Context:
    """Return the context for one event alone, for expressions that are compiled so."""
    return Context(
        {
            "event.id": event.id,
            "event.type": event.type,
            "event.occur_time": event.occur_time,
            "event.properties": event.properties,
        }
    )


class Expression:
    """A compiled expression with a yes or no for an answer."""

    __slots__ = ("_program", "_resting_until", "source")

    def __init__(self, source: str, program: cel.Expression) -> None:
        """Use `compile_expression` instead."""
        self.source = source
        self._program = program
        self._resting_until = 0.0

    def matches(self, context: Context) -> bool:
        """Say whether the expression holds.

        Raises:
            ExpressionFailed: A key is missing, types do not fit, the answer is no
                bool, or the expression is over its budget.
        """
        if self._resting_until and perf_counter() < self._resting_until:
            raise ExpressionFailed("over its budget of time: rests")
        begun = perf_counter()
        try:
            answer = self._eval(context)
        finally:
            if perf_counter() - begun > SLOW.total_seconds():
                self._rest_if_slow(context)
        return answer

    def _rest_if_slow(self, context: Context) -> None:
        """Rest, if it was the expression that took the time.

        A busy machine, the collector of garbage or a frozen process take it as well, and an
        innocent expression that rests refuses messages. So it runs once more, by the time that
        this thread computes.
        """
        begun = thread_time()
        with suppress(ExpressionFailed):
            self._eval(context)
        took = thread_time() - begun
        if took > SLOW.total_seconds():
            self._resting_until = perf_counter() + took * _REST_FACTOR

    def _eval(self, context: Context) -> bool:
        try:
            value = self._program.eval(context.activation)
            if value.type() == cel.Type.ERROR and "out of range for" in str(value.value()):
                value = self._program.eval(context.plainer().activation)
        except RuntimeError as error:
            raise ExpressionFailed(_plain(str(error))) from None
        answer = value.value()
        # Anything but the two bools: an error's value would be truthy.
        if answer is True or answer is False:
            return bool(answer)
        if value.type() == cel.Type.ERROR:
            raise ExpressionFailed(_plain(str(answer)))
        raise ExpressionFailed(f"gave {value.type().name()} instead of bool")


def compile_expression(
    source: str, *, length_max: int = LENGTH_MAX, with_trigger: bool = False
) -> Expression:
    """Compile an expression over `event`, `profile`, `now` and, if asked, `trigger`.

    Raises:
        InvalidArgument: `EXPRESSION_INVALID` with line and column where it does not
            compile, `EXPRESSION_TOO_COSTLY` where it is longer or nests deeper than
            it may.
    """
    return _compile(source, _ENV_WITH_TRIGGER if with_trigger else _ENV, length_max)


def compile_event_expression(source: str, *, length_max: int = LENGTH_MAX) -> Expression:
    """Compile an expression over `event` alone.

    Raises:
        InvalidArgument: As of `compile_expression`.
    """
    return _compile(source, _ENV_OF_EVENTS, length_max)


def _compile(source: str, env: cel.Env, length_max: int) -> Expression:
    program = check(source, env, length_max=length_max)
    _check_cost(source)
    return Expression(source, program)


def check(source: str, env: cel.Env, *, length_max: int = LENGTH_MAX) -> cel.Expression:
    """Return an expression that gives a bool, as the library checked it.

    Raises:
        InvalidArgument: As of `compile_expression`.
    """
    if len(source) > length_max:
        raise too_costly(source, f"{length_max} characters")
    if "\0" in source or any("\ud800" <= one <= "\udfff" for one in source):
        raise invalid(source, "holds a NUL or half a character", line=1, column=1)
    try:
        program = env.compile(source)
    except RuntimeError as error:
        raise _not_compiled(source, str(error)) from None
    gives = program.return_type()
    if gives not in (cel.Type.BOOL, cel.Type.DYN):
        raise invalid(source, f"gives {gives.name()} instead of bool", line=1, column=1)
    return program


def try_cost(expression: Expression) -> None:
    """Run an expression over ever larger inputs, up to the largest there can be.

    Raises:
        InvalidArgument: `EXPRESSION_TOO_COSTLY` when one run takes longer than
            `TRIAL_LIMIT` or exceeds the library's budget.
    """
    limit = TRIAL_LIMIT.total_seconds()
    for context in _trial_contexts(expression.source):
        begun = perf_counter()
        try:
            expression._eval(context)  # noqa: SLF001 — without the rest for slow ones
        except ExpressionFailed as failure:
            # Inputs that do not fit are the point; an overrun is not.
            if "budget" in str(failure):
                raise too_costly(expression.source, "10,000 iterations") from None
        if perf_counter() - begun > limit:
            # Once more: the first run plans lazily, and the machine may be busy.
            begun = perf_counter()
            with suppress(ExpressionFailed):
                expression._eval(context)  # noqa: SLF001 — as above
            if perf_counter() - begun > limit:
                ms = round(limit * 1000)
                raise too_costly(expression.source, f"{ms} ms over the largest event")


def invalid(source: str, message: str, *, line: int, column: int) -> InvalidArgument:
    """Return the error for an expression that does not compile."""
    return InvalidArgument(
        ErrorReason.ERROR_REASON_EXPRESSION_INVALID,
        f"expression, line {line}, column {column}: {message}",
        metadata={"expression": source[:256], "line": str(line), "column": str(column)},
    )


def too_costly(source: str, limit: str) -> InvalidArgument:
    """Return the error for an expression that costs too much."""
    return InvalidArgument(
        ErrorReason.ERROR_REASON_EXPRESSION_TOO_COSTLY,
        f"expression goes beyond {limit}",
        metadata={"expression": source[:256], "limit": limit},
    )


def _not_compiled(source: str, error: str) -> InvalidArgument:
    if _TOO_DEEP.match(error):
        return too_costly(source, "32 levels of nesting")
    match = _POSITION.search(error)
    if match is None:
        return invalid(source, _plain(error), line=1, column=1)
    return invalid(source, match[3], line=int(match[1]), column=int(match[2]))


def _check_cost(source: str) -> None:
    bare = _bare(source)
    if bare.count("+") > _PLUS_MAX:
        raise too_costly(source, f"{_PLUS_MAX} uses of +")
    depth = 0
    within: list[bool] = []
    for match in _CALL.finditer(bare):
        if match[0] == ")":
            depth -= bool(within and within.pop())
            continue
        if match[1] in _FORBIDDEN:
            line = bare.count("\n", 0, match.start()) + 1
            column = match.start() - (bare.rfind("\n", 0, match.start()) + 1) + 1
            raise invalid(source, f"{match[1]}() is not available", line=line, column=column)
        loop = match[1] in _LOOPS
        within.append(loop)
        depth += loop
        if depth > _LOOP_DEPTH_MAX:
            raise too_costly(source, f"{_LOOP_DEPTH_MAX} loops inside each other")


def _bare(source: str) -> str:
    """Return the source without what strings and comments hold, of the same length."""
    blank = _STRING.sub(lambda found: "'" + " " * (len(found[0]) - 2) + "'", source)
    return _COMMENT.sub(lambda found: " " * len(found[0]), blank)


def _trial_contexts(source: str) -> Iterator[Context]:
    """Yield contexts in which every path that the source names holds something large."""
    bare = _bare(source)
    paths = [_path(match[1], called=bool(match[2])) for match in _PATH.finditer(bare)]
    names = sorted(set(_NAME.findall(bare)))
    size = 16
    while size <= _TRIAL_SIZE_MAX:
        scalars: tuple[Any, ...] = ("x" * size, size)
        # Some eight bytes an element: no larger list fits into an event.
        length = max(1, size // 8)
        lists: tuple[Sequence[Any], ...] = (
            [1] * length,
            ["x"] * length,
            [dict.fromkeys(names, 1)] * max(1, length // 4),
        )
        for scalar in scalars:
            for items in lists:
                yield _trial_context(paths, scalar, items)
        size *= 2


def _path(text: str, *, called: bool) -> tuple[list[str], bool]:
    """Return the keys of `.a.b.exists(`, and whether what they name is gone through."""
    names = _NAME.findall(text)
    if not called:
        return names, False
    return names[:-1], names[-1] in _LOOPS


def _trial_context(
    paths: Sequence[tuple[list[str], bool]], scalar: Any, items: Sequence[Any]
) -> Context:
    holder: dict[str, Any] = {}
    for keys, looped in paths:
        node = holder
        for key in keys[:-1]:
            below = node.setdefault(key, {})
            if not isinstance(below, dict):
                below = node[key] = {}
            node = below
        if keys and not isinstance(node.get(keys[-1]), dict | list):
            node[keys[-1]] = items if looped else scalar
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    event = EventFacts("id", "type", moment, holder)
    profile = ProfileFacts("id", holder, {}, "UTC", "en", moment, moment, holder)
    return make_context(event=event, profile=profile, now=moment, trigger=event)


def _plainer(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plainer(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plainer(each) for each in value]
    if isinstance(value, int) and not -_INT64_MAX <= value <= _INT64_MAX:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def _plain(error: str) -> str:
    """Return the library's words without its codes and picture."""
    first = error.split("\n", 1)[0]
    return re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", first)[:200]
