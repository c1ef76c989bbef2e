"""Makes sure that a filter as SQL says what the CEL library says.

Generated filters over generated people: both are asked, with our functions modelled naively.
"""

import asyncio
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from cel_expr_python import cel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.profile.convert.predicates import compile_filter, environment
from services.profile.convert.predicates.literals import moment_us
from services.profile.model.segments import Binding
from services.profile.store import SCHEMA
from tests.effort import examples

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
NOW_US = (NOW - EPOCH) // US
HOUR_US = 3_600_000_000
WEEK_US = 168 * HOUR_US


@dataclass(frozen=True)
class Done:
    """An event in the history."""

    kind: str
    hours_ago: int
    properties: Mapping[str, Any]
    hours_late: int = 0


# Of each person the same, so that the table is written once.
DONE: Mapping[str, Sequence[Done]] = {
    "p0": [],
    "p1": [Done("bought", 1, {"worth": 5}), Done("bought", 47, {"worth": 2.5})],
    "p2": [
        Done("bought", 48, {"worth": 7}),
        Done("bought", 3, {"worth": "x"}),
        Done("seen", 2, {}),
    ],
    "p3": [Done("bought", 800, {"worth": 1}, hours_late=790), Done("bought", -3, {"worth": 9})],
}
FOLLOWS: Mapping[str, Sequence[str]] = {"p0": [], "p1": ["p0"], "p2": ["p0", "p3"], "p3": ["px"]}
PUSHED = {"p1": 29 * 24, "p2": 30 * 24, "p3": 1}
"""When a device was seen, in hours ago."""


class Asked:
    """A database that says what SQL makes of somebody."""

    def __init__(self, runner: asyncio.Runner, connection: "asyncpg.Connection[Any]") -> None:
        self._runner = runner
        self._connection = connection

    def holds(self, source: str, person: Mapping[str, Any]) -> tuple[bool | None, int | None]:
        chosen = compile_filter(source)
        columns = (
            "'acme'::text, $1::text, $2::jsonb, $3::jsonb, $4::jsonb, $5::text, '', $6::bigint, "
            "$6::bigint, $7::timestamptz, '{}'::text[], $8::text, ''"
        )
        names = (
            "workspace, profile_id, attributes, traits, counters, locale, time_zone,"
            " first_seen_us, last_seen_us, create_time, member_ids, email, phone"
        )
        values = [
            person["id"],
            json.dumps(person["attributes"]),
            json.dumps(person["traits"]),
            json.dumps({kind: [count, 1, 2] for kind, count in person["counters"].items()}),
            person["locale"],
            (person["seen"] - EPOCH) // US,
            person["seen"],
            person["email"],
        ]
        return self._runner.run(self._ask(chosen, columns, names, values))

    def moments(self, texts: Sequence[str]) -> list[int | None]:
        """Return what a column of texts is in microseconds."""
        rows = self._runner.run(
            self._connection.fetch(
                "SELECT cel_moment(to_jsonb(t)) FROM unnest($1::text[]) t", texts
            )
        )
        return [row[0] for row in rows]

    async def _ask(
        self, chosen: Any, columns: str, names: str, values: list[Any]
    ) -> tuple[bool | None, int | None]:
        said = []
        for part in (chosen.add_to, chosen.add_due_to):
            binding = Binding(NOW_US, first=len(values) + 1)
            sql = part(binding)
            said.append(
                await self._connection.fetchval(
                    f"SELECT {sql} FROM (SELECT {columns}) AS p ({names})",
                    *values,
                    *binding.parameters,
                )
            )
        return said[0], said[1]


@pytest.fixture(scope="module")
def asked(database_url: str) -> Iterator[Asked]:
    with asyncio.Runner() as runner:
        connection = runner.run(
            asyncpg.connect(database_url, server_settings={"search_path": SCHEMA})
        )
        runner.run(_fill(connection))
        yield Asked(runner, connection)
        runner.run(_empty(connection))
        runner.run(connection.close())


async def _fill(db: "asyncpg.Connection[Any]") -> None:
    for person, done in DONE.items():
        for at, one in enumerate(done):
            occur_us = NOW_US - one.hours_ago * HOUR_US
            receive_us = occur_us + one.hours_late * HOUR_US
            week = receive_us // WEEK_US
            name = (EPOCH + timedelta(weeks=week)).strftime("%Y%m%d")
            await db.execute(
                "SELECT make_week($1, $2, $3)", name, week * WEEK_US, (week + 1) * WEEK_US
            )
            await db.execute(
                "INSERT INTO history (receive_us, occur_us, fingerprint, event_uid, log_partition,"
                " log_index, workspace, profile_id, event_id, type, log_position, properties)"
                " VALUES ($1, $2, 0, gen_random_uuid(), 0, 0, 'acme', $3, $4, $5, '', $6)",
                receive_us,
                occur_us,
                person,
                f"{person}-{at}",
                one.kind,
                json.dumps(one.properties),
            )
    for person, others in FOLLOWS.items():
        for other in others:
            await db.execute(
                "INSERT INTO relations VALUES ('acme', $1, 'follows', $2, '{}', now(), now())",
                person,
                other,
            )
    for person, hours in PUSHED.items():
        await db.execute(
            "INSERT INTO devices VALUES ('acme', $1, gen_random_uuid(), $1, 1, 1, $2, 't', '', '',"
            " '', now())",
            person,
            NOW_US - hours * HOUR_US,
        )


async def _empty(db: "asyncpg.Connection[Any]") -> None:
    await db.execute("TRUNCATE history, relations, devices")


def expected(source: str, person: Mapping[str, Any]) -> bool:
    """Return what the library says; an error is no."""

    def counted(kind: str, window: timedelta) -> list[Done]:
        return [
            one
            for one in DONE[person["id"]]
            if one.kind == kind
            and 0 <= one.hours_ago < window / timedelta(hours=1)
            and one.hours_late <= 30 * 24
        ]

    def event_sum(kind: str, key: str, window: timedelta) -> float:
        found = (one.properties.get(key) for one in counted(kind, window))
        return math.fsum(value for value in found if isinstance(value, int | float))

    def reachable(channel: str) -> bool:
        if channel == "push":
            return PUSHED.get(person["id"], 10_000) < 30 * 24
        return channel == "email" and bool(person["email"])

    env = environment(
        {
            "event_count": lambda kind, window: len(counted(kind, window)),
            "event_sum": event_sum,
            "has_relation": lambda kind, other: (
                kind == "follows" and other in FOLLOWS[person["id"]]
            ),
            "relation_count": lambda kind: (kind == "follows") * len(FOLLOWS[person["id"]]),
            "reachable": reachable,
        }
    )
    env.compile("now == now")
    activation = env.Activation(
        {
            "profile.id": person["id"],
            "profile.attributes": person["attributes"],
            "profile.traits": person["traits"],
            "profile.counters": {
                kind: {"count": count} for kind, count in person["counters"].items()
            },
            "profile.locale": person["locale"],
            "profile.time_zone": "",
            "profile.create_time": person["seen"],
            "profile.first_seen_time": person["seen"],
            "profile.last_seen_time": person["seen"],
            "now": NOW,
        }
    )
    value = env.compile(source).eval(activation)
    return value.type() == cel.Type.BOOL and value.value() is True


KEYS = ("a", "b", "c", "a", "b", "c", "gone")
MOMENTS = (
    "2026-11-22T12:00:00Z",
    "2026-11-19T12:00:00Z",
    "2024-02-29T01:02:03.5+02:00",
    "2025-02-29T00:00:00Z",
    "2026-11-25 12:00:00Z",
    "soon",
)
scalars = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([0.5, 1.5, 30.0, -2.25, 1e20]),
    st.booleans(),
    st.sampled_from(["", "x", "gold", "Äpfel", "a.b", "30", *MOMENTS]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xy"), inner),
    max_leaves=4,
)
people = st.fixed_dictionaries(
    {
        "id": st.sampled_from(sorted(DONE)),
        "attributes": st.dictionaries(st.sampled_from("abc"), values, min_size=2),
        "traits": st.dictionaries(st.sampled_from(["worn", "worn_previous"]), st.integers(0, 5)),
        "counters": st.dictionaries(st.sampled_from(["bought", "seen"]), st.integers(1, 5)),
        "locale": st.sampled_from(["", "de", "pt-BR"]),
        "email": st.sampled_from(["", "a@example.com"]),
        "seen": st.sampled_from([NOW, NOW - timedelta(days=30), NOW - timedelta(days=31)]),
    }
)

literals = scalars.map(lambda value: json.dumps(value, ensure_ascii=False))
numbers = st.sampled_from(["0", "1", "2", "30", "-2", "1.5", "30.0"])
signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
strings = st.sampled_from(['"x"', '"gold"', '"go"', '""', '"Ä"', '"."'])
spans = st.sampled_from(["1h", "48h", "72h", "720h", "1h30m"]).map(lambda one: f'duration("{one}")')
patterns = st.sampled_from(
    ["^g.*d$", "x|gold", "[0-9]{2}", "^\\\\d+$", "a\\\\.b", "^(go|si)", "[^x]", "", "^.$", "Ä+"]
)


def paths(variables: Sequence[str] = ()) -> st.SearchStrategy[str]:
    keys = st.sampled_from(KEYS).map(lambda key: f"profile.attributes.{key}")
    found = (
        keys
        | keys
        | keys
        | keys.map(lambda path: f"{path}.x")
        | keys.map(lambda path: f'{path}["y"]')
    )
    found |= keys.map(lambda path: f"{path}[0]")
    return found | st.sampled_from(variables) if variables else found


def leaves(variables: Sequence[str] = ()) -> st.SearchStrategy[str]:
    path = paths(variables)

    def said(template: str, **parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.fixed_dictionaries(parts).map(lambda found: template.format(**found))

    moment = said("timestamp({p})", p=path)
    moment |= st.sampled_from(["profile.last_seen_time", 'timestamp("2026-11-19T12:00:00Z")'])
    return st.one_of(
        said("{p} {s} {v}", p=path, s=signs, v=literals),
        said("{v} {s} {p}", p=path, s=signs, v=numbers),
        said("{p} {s} {q}", p=path, s=signs, q=path),
        said("{p}", p=path),
        said("{p} in [{v}, {w}]", p=path, v=literals, w=literals),
        said("{v} in {p}", p=path, v=literals),
        said("{q} in {p}", p=path, q=path),
        said('{p}.startsWith({t}) || {p}.endsWith("d")', p=path, t=strings),
        said("{p}.contains({t})", p=path, t=strings),
        said('{p}.matches("{r}")', p=path, r=patterns),
        said("size({p}) {s} {v}", p=path, s=signs, v=st.sampled_from("0123")),
        said("{p} + 1 {s} {v}", p=path, s=signs, v=numbers),
        said("{p} * 1.5 {s} {v}", p=path, s=signs, v=numbers),
        said("int({p}) % 3 {s} 1", p=path, s=signs),
        said("double({p}) / 4.0 {s} double({q})", p=path, q=path, s=signs),
        said("7 / int({p}) {s} -int({q})", p=path, q=path, s=signs),
        said("({p} ? {q} : {v}) == true", p=path, q=path, v=path),
        said("{m} {s} now - {d}", m=moment, s=signs, d=spans),
        said("now - {m} {s} {d}", m=moment, s=signs, d=spans),
        said("{m} + {d} {s} {n}", m=moment, n=moment, s=signs, d=spans),
    )


ours = st.one_of(
    st.sampled_from(
        [
            "has(profile.attributes.a)",
            "has(profile.attributes.b.x)",
            '"a" in profile.attributes',
            'profile.counters["bought"].count > 2',
            "has(profile.counters.seen)",
            "profile.traits.worn > profile.traits.worn_previous",
            "profile.traits.worn >= 2",
            'profile.locale == "de"',
            'profile.locale in ["de", "fr"]',
            'profile.locale.startsWith("pt")',
            "size(profile.attributes) > 1",
            'profile.id == "p1"',
            'has_relation("follows", "p0")',
            'relation_count("follows") > 1',
            'reachable("push")',
            'reachable("email")',
        ]
    ),
    st.tuples(signs, st.sampled_from("012"), spans).map(
        lambda found: f'event_count("bought", {found[2]}) {found[0]} {found[1]}'
    ),
    st.tuples(signs, numbers, spans).map(
        lambda found: f'event_sum("bought", "worth", {found[2]}) {found[0]} {found[1]}'
    ),
)
loops = st.tuples(paths(), st.sampled_from(["exists", "all"]), leaves(["t", "t.x"])).map(
    lambda found: f"{found[0]}.{found[1]}(t, {found[2]})"
)
filters = st.recursive(
    leaves() | ours | loops,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(
            lambda found: f"({found[0]}) {found[1]} ({found[2]})"
        ),
        inner.map(lambda one: f"!({one})"),
    ),
    max_leaves=4,
)


@settings(max_examples=examples(200), deadline=None, suppress_health_check=list(HealthCheck))
@given(source=filters, person=people)
def test_a_filter_holds_in_sql_exactly_where_the_library_says_true(
    asked: Asked, source: str, person: dict[str, Any]
) -> None:
    try:
        holds, _ = asked.holds(source, person)
    except InvalidArgument:
        # What does not compile here need not compile there.
        return

    assert (holds is True) == expected(source, person), (source, person, holds)


def test_a_day_that_there_is_not_is_no_moment_and_no_error(asked: Asked) -> None:
    years = (0, 1, 4, 100, 400, 1900, 1999, 2000, 2023, 2024, 2100, 9999)
    days = [(y, m, d) for y in years for m in range(14) for d in range(33)]

    found = asked.moments([f"{y:04}-{m:02}-{d:02}T23:59:59.5+14:00" for y, m, d in days])

    assert [one is not None for one in found] == [_is_day(*day) for day in days]


def test_a_moment_of_an_attribute_is_that_of_the_same_literal(asked: Asked) -> None:
    fractions = ("", ".5", ".1234567", ".123456500", ".1234575", ".999999499", ".9999999")
    texts = [f"{year}-12-31T23:59:59{one}Z" for year in (1969, 2026, 2240) for one in fractions]

    assert asked.moments(texts) == [moment_us(text) for text in texts]


def _is_day(*day: int) -> bool:
    try:
        date(*day)
    except ValueError:
        return False
    return True
