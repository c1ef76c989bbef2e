"""The Jinja2 environments: what a template can reach, and what it cannot.

The sandbox bounds reach, not work: what runs too long or grows too large is the child's limits'
to end.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgspec
from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

ROOTS = frozenset({"event", "profile", "digest", "campaign", "delivery"})

# A number of a thousand digits is no number of a message.
_NUMBER_BITS_MAX = 4096

# Methods of a mapping that templates may want; data of that name comes first.
_MAPPING_METHODS = frozenset({"items", "keys", "values", "get"})


class TooCostly(SecurityError):
    """An operation would make much out of little."""


class Ref(str):
    """An id that can be written as `campaign` and as `campaign.id`."""

    __slots__ = ()


class Environment(ImmutableSandboxedEnvironment):
    """Data first, nothing but data, and no operation that grows without bound."""

    # Also keeps the compiler from folding these at compile time.
    intercepted_binops = frozenset({"*", "**", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Look into data before methods: `order.items` is what was ordered, not dict.items."""
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                if attribute not in _MAPPING_METHODS:
                    return self.undefined(obj=obj, name=attribute)
        elif type(obj) is Ref and attribute == "id":
            return str(obj)
        elif isinstance(obj, Sample):
            return obj
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Look into data only."""
        if type(obj) is dict:
            try:
                return obj[argument]
            except (KeyError, TypeError):
                return self.undefined(obj=obj, name=argument)
        if isinstance(obj, Sample):
            return obj
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse what makes much out of little: `"a" * 10**9`, `9**9**9`, `"%99999d" % 1`."""
        if isinstance(left, Sample) or isinstance(right, Sample):
            return Sample()
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            message = f"{operator} takes numbers only"
            raise TooCostly(message)
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() * 2
            if bits > _NUMBER_BITS_MAX or right.bit_length() > _NUMBER_BITS_MAX:
                message = "a number grows too large"
                raise TooCostly(message)
        return super().call_binop(context, operator, left, right)


def make(*, html: bool) -> Environment:
    """Return an environment; `html` escapes values."""
    environment = Environment(
        undefined=StrictUndefined,
        autoescape=html,
        finalize=_never_null,
        auto_reload=False,
        cache_size=0,
    )
    # range, lipsum, cycler and joiner make much out of nothing.
    environment.globals = {"dict": dict, "namespace": environment.globals["namespace"]}
    environment.filters["tojson"] = _html_json if html else _json
    for name in ("pprint", "random", "urlize", "xmlattr"):
        del environment.filters[name]
    return environment


def _never_null(value: Any) -> Any:
    # "Hi None" is a broken sentence; null is data that is missing.
    if value is None:
        message = "null"
        raise UndefinedError(message)
    return value


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=_plain).decode()


def _html_json(value: Any) -> Markup:
    text = _json(value)
    for character, escape in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("'", "\\u0027"),
    ):
        text = text.replace(character, escape)
    return Markup(text)  # noqa: S704 — escaped above


def _plain(value: Any) -> Any:
    if isinstance(value, Undefined):
        # Raises, naming what is missing.
        value._fail_with_undefined_error()  # noqa: SLF001 — what str() of it does, typed
    if isinstance(value, Sample):
        return 0
    if isinstance(value, str):
        return str(value)
    message = f"{type(value).__name__} is not data"
    raise TypeError(message)


class Sample:
    """Stands for any data at all, to try a template before there is any.

    Everything of it is itself; written out it is 0, which is good JSON with and without quotes.
    """

    def _same(self, *_args: Any, **_named: Any) -> "Sample":
        return self

    __call__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _same
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _same
    __neg__ = __pos__ = __abs__ = __round__ = __pow__ = __rpow__ = _same
    __getitem__ = _same

    def __str__(self) -> str:
        return "0"

    def __html__(self) -> str:
        return "0"

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __int__(self) -> int:
        return 0

    def __float__(self) -> float:
        return 0.0

    def __iter__(self) -> Any:
        return iter((self,))

    def __contains__(self, _item: object) -> bool:
        return True

    def __eq__(self, _other: object) -> bool:
        return True

    def __lt__(self, _other: object) -> bool:
        return False

    __gt__ = __lt__
    __le__ = __ge__ = __eq__

    def __hash__(self) -> int:
        return 0


def paths_in(tree: nodes.Template) -> list[str]:
    """Return the dotted paths that a template reads, as written."""
    found: dict[str, None] = {}
    # `order.items()` reads the order, not something called items.
    methods = {
        id(call.node)
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Getattr) and call.node.attr in _MAPPING_METHODS
    }
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Name)):
        path = None if id(node) in methods else _path_of(node)
        if path is not None:
            found[path] = None
    return list(found)


def _path_of(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        return node.name if node.name in ROOTS else None
    if isinstance(node, nodes.Getattr):
        parent = _path_of(node.node)
        return f"{parent}.{node.attr}" if parent else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        parent = _path_of(node.node)
        return f"{parent}.{node.arg.value}" if parent else None
    return None


def resolves(data: Mapping[str, Any], path: str) -> bool:
    """Say whether there is something other than null at the path."""
    value: Any = data
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal():
            value = value[int(step)] if int(step) < len(value) else None
        elif isinstance(value, Ref):
            return step == "id"
        else:
            return False
        if value is None:
            return False
    return True


def refuse_all(*_args: Any) -> NoReturn:
    """Never load another template."""
    message = "templates stand alone"
    raise SecurityError(message)


Compiled = Callable[[dict[str, Any]], str]
