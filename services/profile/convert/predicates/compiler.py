# ruff: noqa: S608 — put together from constants and slots: no value is in the text
"""Makes SQL of a checked expression, or says what in it no filter may hold."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

from mesh.errors import InvalidArgument
from mesh.expressions import too_costly
from services.profile.convert.predicates import functions
from services.profile.convert.predicates.environment import refused
from services.profile.convert.predicates.literals import moment_us, span_us
from services.profile.convert.predicates.patterns import NotPortable, translate
from services.profile.convert.predicates.terms import (
    NUMBERS,
    Kind,
    Term,
    as_bool,
    as_float,
    equal,
    ordered,
    turned,
)
from services.profile.convert.predicates.tree import (
    Call,
    Constant,
    Items,
    Loop,
    Name,
    Node,
    Other,
    Select,
    Tree,
)
from services.profile.model.segments import Dependencies, SqlValue

# A part of a filter may stand in the SQL several times, and parts within parts more often.
SQL_MAX = 64 * 1024

# So few that 64 bits of microseconds hold whatever comes out.
_SUMS_MAX = 16

_COLUMNS = {
    "profile.id": Term(Kind.TEXT, "p.profile_id"),
    "profile.time_zone": Term(Kind.TEXT, "p.time_zone"),
    "profile.locale": Term(Kind.TEXT, "p.locale"),
    "profile.create_time": Term(Kind.TIME, "cel_micros(p.create_time)"),
    "profile.first_seen_time": Term(Kind.TIME, "NULLIF(p.first_seen_us, 0)"),
    "profile.last_seen_time": Term(Kind.TIME, "NULLIF(p.last_seen_us, 0)"),
    "now": Term(Kind.TIME, "0", now=1),
}
_MAPS = {
    "profile.attributes": "p.attributes",
    "profile.traits": "p.traits",
    "relation.attributes": "r.attributes",
}
_SEEN = ("profile.first_seen_time", "profile.last_seen_time")
_ADDRESS = {"email": "email", "sms": "phone"}
_COUNTER_FIELDS = {"count": 0, "first_time": 1, "last_time": 2}
_COMPARISONS = {
    "_==_": "=",
    "_!=_": "<>",
    "_<_": "<",
    "_<=_": "<=",
    "_>_": ">",
    "_>=_": ">=",
}
_ARITHMETIC = {"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%"}


@dataclass(slots=True)
class _Needs:
    """What the SQL turned out to depend on."""

    event_types: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    traits: set[str] = field(default_factory=set)
    relations: set[str] = field(default_factory=set)
    devices: bool = False
    any_event: bool = False
    any_attribute: bool = False

    def frozen(self) -> Dependencies:
        return Dependencies(
            frozenset(self.event_types),
            frozenset(self.attributes),
            frozenset(self.traits),
            frozenset(self.relations),
            self.devices,
            self.any_event,
            self.any_attribute,
        )


class Compiler:
    """Walks one tree."""

    def __init__(self, source: str, tree: Tree) -> None:
        """Take an expression and its tree."""
        self._source = source
        self._tree = tree
        self._loops = 0
        self._sums = 0
        self._variables: dict[str, Term] = {}
        self._needs = _Needs()
        self.parameters: list[SqlValue] = []
        self._dues: list[str] = []
        self._calls: dict[str, Callable[[Call], Term]] = {
            "-_": self._negate,
            "_?_:_": self._ternary,
            "_[_]": self._index,
            "@in": self._in,
            "startsWith": self._text_method,
            "endsWith": self._text_method,
            "contains": self._text_method,
            "matches": self._matches,
            "size": self._size,
            "timestamp": self._timestamp,
            "duration": self._duration,
            "int": self._int,
            "double": self._double,
            "event_count": self._event_count,
            "event_sum": self._event_sum,
            "has_relation": self._has_relation,
            "relation_count": self._relation_count,
            "reachable": self._reachable,
        }

    @property
    def depends_on(self) -> Dependencies:
        """What can make the answer another."""
        return self._needs.frozen()

    def whole(self) -> tuple[str, str]:
        """Return SQL for the answer, and for when time alone may change it."""
        sql = self._bool(self._tree.root)
        return sql, _least(self._dues)

    def _bool(self, node: Node) -> str:
        term = self._term(node)
        if term.kind not in (Kind.BOOL, Kind.JSON):
            raise self._refuse(node, "must give a bool")
        return as_bool(term)

    def _term(self, node: Node) -> Term:
        match node:
            case Constant():
                made = self._constant(node)
            case Name():
                made = self._name(node)
            case Select():
                made = self._select(node)
            case Call():
                made = self._call(node)
            case Items():
                made = self._items(node)
            case Loop():
                made = self._loop(node)
            case Other():
                raise self._refuse(node, f"{node.what} is not available in a filter")
        if len(made.sql) > SQL_MAX:
            raise too_costly(self._source, f"{SQL_MAX} characters of SQL")
        return made

    # Leaves.

    def _constant(self, node: Constant) -> Term:
        value = node.value
        if node.unsupported:
            raise self._refuse(node, f"{node.unsupported} is not available in a filter")
        if isinstance(value, str) and not _keepable(value):
            raise self._refuse(node, "a string must not hold a NUL or half a character")
        as_json = self._slot(json.dumps(value), "jsonb")
        literal = (value,)
        match value:
            case None:
                return Term(Kind.JSON, as_json, "NULL::text", literal, as_json)
            case bool():
                return Term(Kind.BOOL, str(value).lower(), "", literal, as_json)
            case str():
                return Term(Kind.TEXT, self._slot(value, "text"), "", literal, as_json)
            case int():
                return Term(Kind.INT, f"{value}::numeric", "", literal, as_json)
            case float():
                if not isfinite(value):
                    raise self._refuse(node, "a number must be finite")
                return Term(Kind.DOUBLE, f"{value!r}::numeric", "", literal, as_json)

    def _name(self, node: Name) -> Term:
        if node.name in self._variables:
            return self._variables[node.name]
        if node.name in _SEEN:
            self._needs.any_event = True
        elif node.name in ("profile.time_zone", "profile.locale"):
            self._needs.attributes.add(node.name.removeprefix("profile."))
        if node.name in _COLUMNS:
            return _COLUMNS[node.name]
        if node.name in _MAPS:
            self._needs.any_attribute = True
            return _json(_MAPS[node.name])
        if node.name == "profile.counters":
            raise self._refuse(
                node, 'counters are asked for one by one: profile.counters["type"].count'
            )
        raise self._refuse(node, f"{node.name} is not available in a filter")

    def _items(self, node: Items) -> Term:
        values = []
        for element in node.elements:
            if not isinstance(element, Constant) or element.unsupported:
                raise self._refuse(element, "a list in a filter holds literals only")
            values.append(element.value)
        if not all(_keepable(value) for value in values if isinstance(value, str)):
            raise self._refuse(node, "a string must not hold a NUL or half a character")
        as_json = self._slot(json.dumps(values), "jsonb")
        elements = self._slot([json.dumps(value) for value in values], "jsonb[]")
        return Term(Kind.LIST, elements, "", tuple(values), as_json)

    # Fields and elements.

    def _select(self, node: Select) -> Term:
        counter = self._counter(node)
        if counter is not None:
            return counter
        found = self._key(node.operand, node.field)
        if node.test:
            holder = found or self._holder(node.operand)
            return self._has(holder, node.field, known=found is not None)
        return _field(found or self._holder(node.operand), self._slot(node.field, "text"))

    def _key(self, operand: Node, key: str) -> Term | None:
        """Return the map that a key is of, having noted which key it is."""
        if not isinstance(operand, Name) or operand.name in self._variables:
            return None
        match operand.name:
            case "profile.attributes":
                self._needs.attributes.add(key)
            case "profile.traits":
                self._needs.traits.add(key)
            case "relation.attributes":
                pass
            case _:
                return None
        return _json(_MAPS[operand.name])

    def _holder(self, node: Node) -> Term:
        term = self._term(node)
        if not term.is_json:
            raise self._refuse(node, "has no fields")
        return term

    def _has(self, holder: Term, key: str, *, known: bool) -> Term:
        slot = self._slot(key, "text")
        if known:
            return Term(Kind.BOOL, f"({holder.sql} ? {slot})")
        return Term(
            Kind.BOOL,
            f"CASE WHEN jsonb_typeof({holder.sql}) = 'object' THEN {holder.sql} ? {slot} END",
        )

    def _counter(self, node: Select) -> Term | None:
        """Return a counter's field, or whether there is a counter."""
        if node.test and _is_counters(node.operand):
            return self._counted(node.field)
        kind = _counter_type(node.operand)
        if kind is None:
            return None
        place = _COUNTER_FIELDS.get(node.field)
        if place is None:
            raise self._refuse(node, "a counter has count, first_time and last_time")
        if node.test:
            there = self._counted(kind).sql
            return Term(Kind.BOOL, f"CASE WHEN {there} THEN true END")
        self._needs.event_types.add(kind)
        sql = f"(p.counters -> {self._slot(kind, 'text')} -> {place})"
        if node.field == "count":
            return Term(Kind.INT, f"{sql}::numeric")
        return Term(Kind.TIME, f"{sql}::bigint")

    def _counted(self, kind: str) -> Term:
        self._needs.event_types.add(kind)
        return Term(Kind.BOOL, f"(p.counters ? {self._slot(kind, 'text')})")

    def _index(self, node: Call) -> Term:
        holder, key = node.arguments
        if isinstance(key, Constant) and isinstance(key.value, str):
            if not _keepable(key.value):
                raise self._refuse(key, "a string must not hold a NUL or half a character")
            found = self._key(holder, key.value)
            return _field(found or self._holder(holder), self._slot(key.value, "text"))
        found = self._holder(holder)
        if isinstance(key, Constant) and type(key.value) is int and 0 <= key.value < 1 << 31:
            # Of a lone value PostgreSQL would take the value for its own first element.
            element = f"({found.sql} -> {key.value})"
            return _json(f"CASE WHEN jsonb_typeof({found.sql}) = 'array' THEN {element} END")
        raise self._refuse(key, "an index must be a string or a number that is not negative")

    # Calls.

    def _call(self, node: Call) -> Term:
        if node.function in ("_&&_", "_||_"):
            sign = "AND" if node.function == "_&&_" else "OR"
            one, other = map(self._bool, node.arguments)
            return Term(Kind.BOOL, f"({one} {sign} {other})")
        if node.function == "!_":
            return Term(Kind.BOOL, f"(NOT ({self._bool(node.arguments[0])}))")
        if node.function in _COMPARISONS:
            return self._comparison(node, _COMPARISONS[node.function])
        if node.function in _ARITHMETIC:
            return self._arithmetic(node, _ARITHMETIC[node.function])
        made = self._calls.get(node.function)
        if made is None:
            name = node.function.strip("_@")
            raise self._refuse(node, f"{name} is not available in a filter")
        return made(node)

    def _comparison(self, node: Call, sign: str) -> Term:
        one, other = map(self._term, node.arguments)
        if Kind.LIST in (one.kind, other.kind):
            return self._against_list(node, sign, one, other)
        if Kind.TIME in (one.kind, other.kind) or Kind.SPAN in (one.kind, other.kind):
            return self._in_time(node, sign, one, other)
        if sign in ("=", "<>"):
            sql = equal(one, other)
            return Term(Kind.BOOL, sql if sign == "=" else f"(NOT {_bracketed(sql)})")
        if any(term.literal == (None,) for term in (one, other)):
            raise self._refuse(node, "null is neither less nor greater")
        return Term(Kind.BOOL, ordered(sign, one, other))

    def _against_list(self, node: Call, sign: str, one: Term, other: Term) -> Term:
        if other.is_json:
            one, other = other, one
        if sign not in ("=", "<>") or not one.is_json or other.kind is not Kind.LIST:
            raise self._refuse(node, "a list can only be compared with an attribute, by == or !=")
        return Term(Kind.BOOL, f"({one.sql} {sign} {other.json})")

    def _in_time(self, node: Call, sign: str, one: Term, other: Term) -> Term:
        if one.kind is not other.kind:
            raise self._refuse(
                node, "write timestamp(…) or duration(…) around what is to be compared with time"
            )
        now = one.now - other.now
        if now == 0:
            return Term(Kind.BOOL, f"({one.sql} {sign} {other.sql})")
        if abs(now) > 1:
            raise self._refuse(node, "now may stand on one side only")
        if now < 0:
            one, other, sign = other, one, turned(sign)
        # From here: now compared with the moment at which the sides are equal.
        moment = f"({other.sql} - {one.sql})"
        at_it = {"<": [0], ">=": [0], "<=": [1], ">": [1], "=": [0, 1], "<>": [0, 1]}[sign]
        self._dues += [
            f"CASE WHEN {moment} + {later} > {{now}} THEN {moment} + {later} END" for later in at_it
        ]
        return Term(Kind.BOOL, f"({{now}} {sign} {moment})")

    def _arithmetic(self, node: Call, sign: str) -> Term:
        one, other = map(self._term, node.arguments)
        kinds = {one.kind, other.kind}
        if kinds <= {Kind.TIME, Kind.SPAN} and sign in "+-":
            return self._along_time(node, sign, one, other)
        if Kind.DOUBLE in kinds and kinds <= {Kind.DOUBLE, Kind.JSON} and sign != "%":
            return Term(
                Kind.DOUBLE,
                f"{_FLOAT_FUNCTIONS[sign]}({_exactly_double(one)}, {_exactly_double(other)})",
                floating=True,
            )
        if Kind.INT in kinds and kinds <= {Kind.INT, Kind.JSON}:
            a, b = _exactly_int(one), _exactly_int(other)
            if sign in "/%":
                b = f"NULLIF({b}, 0)"
            return Term(
                Kind.INT, f"cel_int(div({a}, {b}))" if sign == "/" else f"cel_int({a} {sign} {b})"
            )
        raise self._refuse(
            node,
            "numbers of one kind are reckoned with: write int(…) or double(…) around attributes",
        )

    def _along_time(self, node: Call, sign: str, one: Term, other: Term) -> Term:
        self._sums += 1
        if self._sums > _SUMS_MAX:
            raise too_costly(self._source, f"{_SUMS_MAX} sums of time")
        factor = 1 if sign == "+" else -1
        now = one.now + factor * other.now
        moments = (one.kind is Kind.TIME) + factor * (other.kind is Kind.TIME)
        if moments not in (0, 1):
            raise self._refuse(node, "gives neither a timestamp nor a duration")
        kind = Kind.TIME if moments else Kind.SPAN
        return Term(kind, f"({one.sql} {sign} {other.sql})", now=now)

    def _negate(self, node: Call) -> Term:
        term = self._term(node.arguments[0])
        if term.kind is Kind.SPAN:
            return Term(Kind.SPAN, f"(- {term.sql})", now=-term.now)
        if term.kind is Kind.INT:
            return Term(Kind.INT, f"cel_int(- {term.sql})")
        if term.kind is Kind.DOUBLE:
            return Term(Kind.DOUBLE, f"(- {term.sql})", floating=term.floating)
        raise self._refuse(node, "write int(…) or double(…) around what is to be negated")

    def _ternary(self, node: Call) -> Term:
        condition = self._bool(node.arguments[0])
        one, other = map(self._term, node.arguments[1:])
        if one.kind is not other.kind or one.now or other.now or one.kind is Kind.LIST:
            raise self._refuse(node, "both sides of : must be of one type, without now")
        if one.floating != other.floating:
            one, other = (replace(term, sql=as_float(term), floating=True) for term in (one, other))

        def choose(yes: str, no: str) -> str:
            return f"(CASE WHEN {condition} THEN {yes} WHEN NOT {condition} THEN {no} END)"

        text = choose(one.text, other.text) if one.is_json else ""
        return Term(one.kind, choose(one.sql, other.sql), text, floating=one.floating)

    def _in(self, node: Call) -> Term:
        element, holder = node.arguments
        if _is_counters(holder) and isinstance(element, Constant):
            return self._counted(str(element.value))
        if isinstance(holder, Name) and isinstance(element, Constant):
            key = element.value
            found = self._key(holder, key) if isinstance(key, str) else None
            if found is not None and isinstance(key, str):
                return self._has(found, key, known=True)
        one, many = self._term(element), self._term(holder)
        if one.kind in (Kind.TIME, Kind.SPAN, Kind.LIST) or one.floating:
            raise self._refuse(element, "cannot be looked for in a list")
        value = one.json or (one.sql if one.is_json else f"to_jsonb({one.sql})")
        if many.kind is Kind.LIST:
            return Term(
                Kind.BOOL,
                f"({value} = ANY ({many.sql}))"
                if many.literal
                else f"CASE WHEN {value} IS NOT NULL THEN false END",
            )
        if not many.is_json:
            raise self._refuse(holder, "must be a list, or an attribute that holds one")
        as_key = one.text if one.is_json else one.sql
        textual = one.kind is Kind.TEXT or one.is_json
        found_as_key = f"{many.sql} ? {as_key}" if textual else "false"
        if one.is_json:
            found_as_key = (
                f"CASE WHEN jsonb_typeof({one.sql}) = 'string' THEN {found_as_key}"
                f" WHEN jsonb_typeof({one.sql}) IN ('number', 'boolean') THEN false END"
            )
            in_array = (
                f"CASE WHEN {one.sql} IS NOT NULL THEN EXISTS (SELECT FROM"
                f" jsonb_array_elements({many.sql}) AS i (v) WHERE i.v = {one.sql}) END"
            )
        else:
            in_array = f"{many.sql} @> {value}"
        return Term(
            Kind.BOOL,
            f"CASE jsonb_typeof({many.sql}) WHEN 'array' THEN {in_array}"
            f" WHEN 'object' THEN {found_as_key} END",
        )

    def _text_method(self, node: Call) -> Term:
        subject, argument = node.arguments
        needle = self._term(argument)
        if needle.kind is not Kind.TEXT:
            raise self._refuse(argument, "must be a string")
        term = self._term(subject)
        text = term.text if term.is_json else term.sql
        match node.function:
            case "startsWith":
                sql = f"starts_with({text}, {needle.sql})"
            case "endsWith":
                sql = f"(right({text}, length({needle.sql})) = {needle.sql})"
            case _:
                sql = f"(strpos({text}, {needle.sql}) > 0)"
        return Term(Kind.BOOL, self._of_text(subject, term, sql))

    def _matches(self, node: Call) -> Term:
        subject, argument = node.arguments
        if not isinstance(argument, Constant) or not isinstance(argument.value, str):
            raise self._refuse(argument, "a pattern must be a literal")
        if not _keepable(argument.value):
            raise self._refuse(argument, "a string must not hold a NUL or half a character")
        try:
            pattern = self._slot(translate(argument.value), "text")
        except NotPortable as error:
            raise self._refuse(
                argument, f"{error} is not available in a pattern of a filter"
            ) from None
        term = self._term(subject)
        text = term.text if term.is_json else term.sql
        return Term(Kind.BOOL, self._of_text(subject, term, f'({text} COLLATE "C" ~ {pattern})'))

    def _of_text(self, node: Node, term: Term, sql: str) -> str:
        if term.kind is Kind.TEXT:
            return sql
        if not term.is_json:
            raise self._refuse(node, "must be a string")
        return f"CASE WHEN jsonb_typeof({term.sql}) = 'string' THEN {sql} END"

    def _size(self, node: Call) -> Term:
        term = self._term(node.arguments[0])
        if term.kind is Kind.TEXT:
            return Term(Kind.INT, f"length({term.sql})::numeric")
        if not term.is_json:
            raise self._refuse(node, "must be the size of a string, or of an attribute")
        keys = f"(SELECT count(*) FROM jsonb_object_keys({term.sql}))"
        return Term(
            Kind.INT,
            f"(CASE jsonb_typeof({term.sql}) WHEN 'string' THEN length({term.text})"
            f" WHEN 'array' THEN jsonb_array_length({term.sql})"
            f" WHEN 'object' THEN {keys} END)::numeric",
        )

    def _timestamp(self, node: Call) -> Term:
        argument = node.arguments[0]
        if isinstance(argument, Constant):
            moment = moment_us(argument.value) if isinstance(argument.value, str) else None
            if moment is None:
                raise self._refuse(argument, 'must be like "2026-12-31T23:59:59Z"')
            return Term(Kind.TIME, f"{moment}::bigint")
        term = self._term(argument)
        if term.kind is Kind.TIME:
            return term
        if not term.is_json:
            raise self._refuse(argument, "must be an attribute or a literal")
        return Term(Kind.TIME, f"cel_moment({term.sql})")

    def _duration(self, node: Call) -> Term:
        argument = node.arguments[0]
        value = argument.value if isinstance(argument, Constant) else None
        span = span_us(value) if isinstance(value, str) else None
        if span is None:
            raise self._refuse(argument, 'must be a literal like "72h" or "1h30m", to 100 years')
        return Term(Kind.SPAN, f"({span}::bigint)")

    def _int(self, node: Call) -> Term:
        term = self._number(node)
        if term.kind is Kind.INT:
            return term
        if term.is_json:
            return Term(Kind.INT, f"cel_to_int({term.sql})")
        return Term(Kind.INT, f"cel_int(trunc(({term.sql})::numeric))")

    def _double(self, node: Call) -> Term:
        term = self._number(node)
        sql = f"cel_to_double({term.sql})" if term.is_json else as_float(term)
        return Term(Kind.DOUBLE, sql, floating=True)

    def _number(self, node: Call) -> Term:
        term = self._term(node.arguments[0])
        if term.kind not in NUMBERS and not term.is_json:
            raise self._refuse(node.arguments[0], "must be a number")
        return term

    # Functions of our own.

    def _event_count(self, node: Call) -> Term:
        kind, window = self._event_window(node, node.arguments[0], node.arguments[1])
        return Term(Kind.INT, functions.event_count(kind, window))

    def _event_sum(self, node: Call) -> Term:
        key = self._slot(self._word(node.arguments[1]), "text")
        kind, window = self._event_window(node, node.arguments[0], node.arguments[2])
        return Term(Kind.DOUBLE, functions.event_sum(kind, key, window))

    def _event_window(self, node: Call, kind: Node, window: Node) -> tuple[str, str]:
        if self._loops:
            raise self._refuse(node, "events cannot be counted inside a loop")
        term = self._term(window)
        span = _literal_span(window)
        if span is None or not 0 < span <= functions.WINDOW_MAX_US:
            raise self._refuse(window, 'must be a literal like duration("72h"), to 366 days')
        word = self._word(kind)
        self._needs.event_types.add(word)
        slot = self._slot(word, "text")
        self._dues.append(functions.window_due(slot, term.sql))
        return slot, term.sql

    def _has_relation(self, node: Call) -> Term:
        kind, other = (self._word(one) for one in node.arguments)
        self._needs.relations.add(kind)
        sql = functions.has_relation(self._slot(kind, "text"), self._slot(other, "text"))
        return Term(Kind.BOOL, sql)

    def _relation_count(self, node: Call) -> Term:
        kind = self._word(node.arguments[0])
        self._needs.relations.add(kind)
        return Term(Kind.INT, functions.relation_count(self._slot(kind, "text")))

    def _reachable(self, node: Call) -> Term:
        channel = self._word(node.arguments[0])
        if channel not in functions.CHANNELS:
            known = ", ".join(functions.CHANNELS)
            raise self._refuse(node.arguments[0], f"must be one of {known}")
        sql, due = functions.reachable(channel)
        if channel in _ADDRESS:
            self._needs.attributes.add(_ADDRESS[channel])
        else:
            self._needs.devices = True
            self._dues.append(due)
        return Term(Kind.BOOL, sql)

    def _word(self, node: Node) -> str:
        if isinstance(node, Constant) and isinstance(node.value, str) and _keepable(node.value):
            return node.value
        raise self._refuse(node, "must be a literal string")

    # Loops.

    def _loop(self, node: Loop) -> Term:
        every = _loop_kind(node)
        if every is None or not isinstance(node.step, Call):
            raise self._refuse(node, "of the macros only exists, all and has are available")
        over = self._term(node.over)
        if not over.is_json:
            raise self._refuse(node, "must go through an attribute")
        self._loops += 1
        alias = f"e{self._loops}"
        shadowed, outer = dict(self._variables), self._dues
        self._variables[node.variable], self._dues = _json(f"{alias}.v"), []
        step = self._bool(node.step.arguments[1])
        inner, self._variables, self._dues = self._dues, shadowed, outer
        self._loops -= 1
        elements = (
            f"FROM jsonb_array_elements(CASE jsonb_typeof({over.sql}) WHEN 'array' THEN {over.sql}"
            f" WHEN 'object' THEN (SELECT jsonb_agg(k) FROM jsonb_object_keys({over.sql}) AS k)"
            f" END) AS {alias} (v)"
        )
        # What stands inside may name nothing of the element; an aggregate over it would then be
        # one over profiles.
        if inner:
            self._dues.append(
                f"(SELECT min(s.d) FROM (SELECT {_least(inner)} AS d {elements}) AS s)"
            )
        found = "NOT bool_and(s.b)" if every else "bool_or(s.b)"
        answer, otherwise = ("false", "true") if every else ("true", "false")
        return Term(
            Kind.BOOL,
            f"CASE WHEN jsonb_typeof({over.sql}) IN ('array', 'object') THEN (SELECT CASE"
            f" WHEN {found} THEN {answer} WHEN bool_or(s.b IS NULL) THEN NULL"
            f" ELSE {otherwise} END FROM (SELECT {step} AS b {elements}) AS s) END",
        )

    def _slot(self, value: SqlValue, type_: str) -> str:
        self.parameters.append(value)
        return f"{{{len(self.parameters) - 1}}}::{type_}"

    def _refuse(self, node: Node, message: str) -> InvalidArgument:
        return refused(self._source, self._tree.positions.get(node.node, 0), message)


_FLOAT_FUNCTIONS = {"+": "cel_plus", "-": "cel_minus", "*": "cel_times", "/": "cel_over"}


def _json(sql: str) -> Term:
    return Term(Kind.JSON, sql, f"({sql} #>> '{{}}')")


def _field(holder: Term, key: str) -> Term:
    return Term(Kind.JSON, f"({holder.sql} -> {key})", f"({holder.sql} ->> {key})")


def _least(dues: Sequence[str]) -> str:
    return f"LEAST({', '.join(dues)})" if dues else "NULL::bigint"


def _bracketed(sql: str) -> str:
    return sql if sql.startswith("(") else f"({sql})"


def _exactly_double(term: Term) -> str:
    return f"cel_exactly_double({term.sql})" if term.is_json else as_float(term)


def _exactly_int(term: Term) -> str:
    return f"cel_exactly_int({term.sql})" if term.is_json else term.sql


def _keepable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text)


def _is_counters(node: Node) -> bool:
    return isinstance(node, Name) and node.name == "profile.counters"


def _counter_type(node: Node) -> str | None:
    match node:
        case Select(operand=holder, field=kind, test=False) if _is_counters(holder):
            return kind
        case Call(function="_[_]", arguments=(holder, Constant(value=str(kind)))) if _is_counters(
            holder
        ):
            return kind
        case _:
            return None


def _literal_span(node: Node) -> int | None:
    match node:
        case Call(function="duration", arguments=(Constant(value=str(text)),)):
            return span_us(text)
        case _:
            return None


def _loop_kind(node: Loop) -> bool | None:
    """Say whether a loop is `all`; None where it is neither that nor `exists`."""
    match node:
        case Loop(
            start=Constant(value=bool(start)),
            step=Call(function=function, arguments=(Name(name=accumulated), _)),
            result=Name(name=result),
        ) if accumulated == result:
            if function == ("_&&_" if start else "_||_"):
                return start
        case _:
            pass
    return None
