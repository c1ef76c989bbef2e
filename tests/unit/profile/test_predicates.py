"""Makes sure that filters are refused with words that help, and that their parts are told apart."""

import re

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.profile.convert.predicates import compile_filter, conditions
from services.profile.convert.predicates.literals import moment_us, span_us
from services.profile.convert.predicates.patterns import NotPortable, translate

HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("profile.attributes.a ==", "line 1, column 24: Syntax error"),
        ("true &&\n  nope", "line 2, column 3: undeclared reference to 'nope'"),
        ("profile.counters.a > 1", "counters are asked for one by one"),
        ("profile.counters.a.sum > 1", "a counter has count, first_time and last_time"),
        ("now + now == now", ""),
        ("profile.attributes.a + profile.attributes.b > 1", "write int(…) or double(…)"),
        ("profile.attributes.a in profile.locale", ""),
        ("profile.attributes.l == [now]", "a list in a filter holds literals only"),
        ("profile.attributes.a.filter(x, x > 1) == [1]", "of the macros only"),
        ("profile.attributes.n.matches(profile.locale)", "a pattern must be a literal"),
        ("timestamp(profile.attributes.a) > profile.attributes.b", "write timestamp(…)"),
        ('duration(profile.attributes.a) > duration("1h")', 'a literal like "72h"'),
        ('timestamp("tomorrow") > now', 'like "2026-12-31T23:59:59Z"'),
        ('event_count(profile.locale, duration("1h")) > 1', "must be a literal string"),
        ('event_count("a", duration("-1h")) > 1', "to 366 days"),
        ('reachable("pigeon")', "must be one of email, push, sms"),
        ("profile.attributes.a[-1] == 1", "not negative"),
        (r'profile.attributes.a == "\u0000"', "must not hold a NUL"),
        ("profile.attributes.a == b'x'", "bytes is not available"),
        ("profile.attributes.a == 1u", "an unsigned number is not available"),
        ('{"a": 1} == profile.attributes.b', "a map or message is not available"),
        ("profile.attributes.a < null", ""),
        ('profile.attributes.l.exists(x, event_count("a", duration("1h")) > x)', "inside a loop"),
        ('profile.attributes.l.exists(x, has_relation("follows", "ana"))', "inside a loop"),
        ('profile.attributes.l.exists(x, relation_count("follows") > x)', "inside a loop"),
        ('profile.attributes.l.exists(x, reachable("push"))', "inside a loop"),
        (
            "profile.attributes.l.exists(x, profile.attributes.l.exists(y, x > y))",
            "a loop inside a loop goes through what x holds",
        ),
        (
            "profile.attributes.l.exists(x, x.a.all(y, x.b.exists(z, y > z)))",
            "a loop inside a loop goes through what y holds",
        ),
        ("profile.locale", "gives"),
        ("recursion > 1", "undeclared reference to 'recursion'"),
    ],
)
def test_what_no_filter_may_hold_is_refused_with_its_place(source: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        compile_filter(source)

    assert refused.value.reason == ErrorReason.ERROR_REASON_EXPRESSION_INVALID
    assert re.search(r"line \d+, column \d+", refused.value.message)
    assert said in refused.value.message


def test_a_loop_goes_through_what_the_loop_around_it_finds() -> None:
    found = compile_filter('profile.attributes.l.exists(x, x.tags[0].all(y, y == "new"))')

    assert found.depends_on.attributes == {"l"}


@pytest.mark.parametrize(
    "source",
    [
        "true || " * 600 + "true",
        "(" * 40 + "true" + ")" * 40,
        " + ".join(["profile.create_time", *['duration("1h")'] * 20]) + " < now",
    ],
)
def test_a_filter_that_costs_too_much_is_refused(source: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        compile_filter(source)

    assert refused.value.reason == ErrorReason.ERROR_REASON_EXPRESSION_TOO_COSTLY


@pytest.mark.parametrize(
    "source",
    [
        r'profile.attributes.a == "\u0000"',
        r'profile.attributes.a in ["b", "\u0000"]',
        r'profile.attributes["\u0000"] == 1',
        r'profile.attributes.a.matches("\u0000")',
        r'"\u0000" in profile.attributes',
        r'"\u0000" in profile.attributes.a',
        r'"\u0000" in profile.counters',
        r'profile.counters["\u0000"].count > 1',
        r'has(profile.counters["\u0000"].count)',
        r'event_count("\u0000", duration("1h")) > 1',
        r'has_relation("follows", "\u0000")',
    ],
)
def test_a_string_that_no_database_keeps_is_refused_wherever_it_stands(source: str) -> None:
    with pytest.raises(InvalidArgument, match="must not hold a NUL"):
        compile_filter(source)


def test_no_text_of_a_caller_stands_in_the_sql() -> None:
    hostile = "'; DROP TABLE profiles; --"

    made = compile_filter(
        f'profile.attributes["{hostile}"] == "{hostile}" && profile.locale.contains("{hostile}")'
        f' && event_count("{hostile}", duration("1h")) > 1'
    )

    assert "DROP" not in made.sql + made.due_sql
    assert hostile in made.parameters


def test_only_what_stands_in_the_sql_becomes_a_parameter() -> None:
    bound = compile_filter('profile.attributes.plan == "gold"').bind(7, first=3)

    assert bound.sql == "((p.attributes -> $3::text) = $4::jsonb)"
    assert bound.parameters == ["plan", '"gold"']


def test_a_filter_knows_what_it_depends_on() -> None:
    made = compile_filter(
        'profile.attributes.plan == "gold" && profile.traits.worn > 1 && reachable("push")'
        ' && has_relation("follows", "x") && event_count("opened", duration("1h")) > 1'
        ' && profile.counters["bought"].count > 1 && profile.locale == "de"'
    ).depends_on

    assert made.attributes == {"plan", "locale"}
    assert made.traits == {"worn"}
    assert made.relations == {"follows"}
    assert made.event_types == {"opened", "bought"}
    assert made.devices
    assert not made.any_event
    assert not made.any_attribute


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("a", ["a"]),
        ("(a && b) || c", ["a", "b", "c"]),
        ('x == "&& ||" && (y)', ['x == "&& ||"', "y"]),
        ("!(a && b) && c", ["!(a && b)", "c"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ("l.exists(x, x > 1 && x < 3) && b", ["l.exists(x, x > 1 && x < 3)", "b"]),
        ("a // or || b\n&& c", ["a", "c"]),
        ("((a))", ["a"]),
        ("(a) && (b)", ["a", "b"]),
    ],
)
def test_conditions_are_what_stands_between_the_signs(source: str, parts: list[str]) -> None:
    assert conditions(source) == parts


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1h", HOUR_US),
        ("1h30m", HOUR_US * 3 // 2),
        ("-1.5h", -HOUR_US * 3 // 2),
        ("1us", 1),
        ("7d", None),
        ("", None),
        ("1", None),
        ("999999999h", None),
    ],
)
def test_spans_are_written_as_in_cel(text: str, us: int | None) -> None:
    assert span_us(text) == us


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T01:00:00.5+01:00", 500_000),
        ("1970-01-01T00:00:00.1234567Z", 123_457),
        ("1970-01-01T00:00:00.9999999Z", 1_000_000),
        ("1970-01-01T00:00:00", None),
        ("1970-02-30T00:00:00Z", None),
        ("1970-01-01", None),
    ],
)
def test_moments_are_written_as_in_rfc_3339(text: str, us: int | None) -> None:
    assert moment_us(text) == us


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(a*|b)*",
        "a**",
        "a*?",
        r"\1",
        "(?=a)",
        "(?i)a",
        "a{1,100}",
        "[",
        "(",
        "a)",
        "*a",
        "^*",
        r"\b",
        "[[:alpha:]]",
        "[z-a]",
        "a" * 201,
        "((((((((((a))))))))))",
        "a{2}{3}",
        "{x",
    ],
)
def test_patterns_that_mean_something_else_or_cost_too_much_are_refused(pattern: str) -> None:
    with pytest.raises(NotPortable):
        translate(pattern)


@given(st.text(alphabet=r"ab(){}[]*+?|^$.\d,1-:", max_size=12))
def test_a_pattern_is_translated_or_refused_and_nothing_else(pattern: str) -> None:
    try:
        translated = translate(pattern)
    except NotPortable:
        return

    # What is let through is a pattern to others as well.
    re.compile(translated)
