"""Makes sure that an expression answers yes, no or why not, and never costs more than it may."""

from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh import expressions
from mesh.errors import InvalidArgument
from mesh.expressions import (
    Context,
    EventFacts,
    ExpressionFailed,
    ProfileFacts,
    compile_event_expression,
    compile_expression,
    make_context,
    make_event_context,
    try_cost,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_context(
    properties: dict[str, Any] | None = None, trigger: EventFacts | None = None, **profile: Any
) -> Context:
    return make_context(
        event=EventFacts("e-1", "order_placed", NOW - timedelta(minutes=5), properties or {}),
        profile=ProfileFacts(
            **{
                "id": "ana",
                "attributes": {"tier": "gold", "age": 30},
                "counters": {"order_placed": {"count": 2}},
                "time_zone": "Europe/Berlin",
                "locale": "de-DE",
                "first_seen_time": NOW - timedelta(days=30),
                "last_seen_time": NOW,
                "traits": {"orders_30d": 3},
                **profile,
            }
        ),
        now=NOW,
        trigger=trigger,
    )


@pytest.mark.parametrize(
    "source",
    [
        'event.properties.value > 100.0 && profile.attributes.tier == "gold"',
        "event.properties.count > 1.5",
        "event.id == 'e-1' && event.type == 'order_placed'",
        "now - event.occur_time == duration('300s')",
        "event.occur_time + duration('1h') > now",
        "profile.first_seen_time < now - duration('240h')",
        "profile.last_seen_time == now",
        "profile.counters.order_placed.count == 2",
        "!has(profile.counters.nothing)",
        "profile.traits.orders_30d > 2 && profile.traits.orders_30d < 3.5",
        "has(profile.traits.orders_30d) && !has(profile.traits.nothing)",
        "profile.id == 'ana' && profile.locale.startsWith('de')",
        "now.getHours('Europe/Berlin') == 13",
        "event.properties.?missing.orValue('x') == 'x'",
        "event.properties.lines.exists(line, line.sku == 'b')",
        "math.greatest(1, 2) == 2",
        "'ABC'.lowerAscii() == 'abc'",
        "event.properties.nothing == null",
        "has(event.properties.value) && !has(event.properties.missing)",
        "event.properties.missing == 1 || true",
    ],
)
def test_what_the_contract_promises_holds(source: str) -> None:
    context = a_context(
        {"value": 120, "count": 2, "lines": [{"sku": "a"}, {"sku": "b"}], "nothing": None}
    )

    assert compile_expression(source).matches(context) is True


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("event.properties.missing == 1", "missing"),
        ("profile.counters.nothing.count > 0", "nothing"),
        ("profile.traits.nothing > 0", "nothing"),
        ("event.properties.text > 1", "overload"),
        ("event.properties.text", "instead of bool"),
        ("1 / 0 == 1", "zero"),
        ("profile.attributes.tier.deep == 1", "non-message"),
    ],
)
def test_an_expression_without_an_answer_says_why(source: str, why: str) -> None:
    expression = compile_expression(source)

    with pytest.raises(ExpressionFailed, match=why):
        expression.matches(a_context({"text": "x"}))


def test_a_person_never_seen_before_has_no_first_time() -> None:
    with pytest.raises(ExpressionFailed, match="first_seen_time"):
        compile_expression("profile.first_seen_time < now").matches(a_context(first_seen_time=None))


def test_an_exception_sees_the_event_that_began_the_wait() -> None:
    trigger = EventFacts("t", "cart_filled", NOW, {"order": 7})
    expression = compile_expression(
        "event.properties.order == trigger.properties.order", with_trigger=True
    )

    assert expression.matches(a_context({"order": 7}, trigger=trigger))
    assert not expression.matches(a_context({"order": 8}, trigger=trigger))


def test_a_number_beyond_64_bits_spoils_nothing_beside_it() -> None:
    context = a_context({"huge": 2**70, "value": 120, "list": [2**65]})

    assert compile_expression("event.properties.value == 120").matches(context)
    assert compile_expression("event.properties.huge > 1.0").matches(context)


def test_half_a_character_in_a_property_is_a_failure_and_no_crash() -> None:
    with pytest.raises(ExpressionFailed):
        compile_expression("event.properties.text == 'a'").matches(a_context({"text": "\ud800"}))


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("event.properties.value >", 1, 25),
        ("event.nope == 1", 1, 6),
        ("now > now &&\n  nobody", 2, 3),
        ("trigger.id == 'a'", 1, 8),
        ("'a' + 1 == 2", 1, 5),
        ("recursion == 'recursion depth'", 1, 1),
        ("event.id", 1, 1),
        ("event.id.replace('a', 'b') == 'b'", 1, 10),
        ("", 1, 1),
    ],
)
def test_what_does_not_compile_is_refused_with_its_place(
    source: str, line: int, column: int
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_expression(source)

    assert caught.value.reason == ErrorReason.ERROR_REASON_EXPRESSION_INVALID
    assert (caught.value.metadata["line"], caught.value.metadata["column"]) == (
        str(line),
        str(column),
    )


@pytest.mark.parametrize(
    "source",
    [
        "event.id == 'a'" + " " * 4096,
        " + ".join(["event.id"] * 34) + " == 'a'",
        "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))",
        "(" * 40 + "true" + ")" * 40,
        "event.properties" + ".a" * 40 + " == 1",
    ],
    ids=["too long", "too many additions", "too many loops", "too many brackets", "too deep"],
)
def test_what_can_grow_without_bound_is_refused_unseen(source: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_expression(source)

    assert caught.value.reason == ErrorReason.ERROR_REASON_EXPRESSION_TOO_COSTLY


@pytest.mark.parametrize(
    "source",
    [
        "event.properties.a.all(x, event.properties.a.all(y, x + y > 0))",
        "event.properties.a.all(x, event.properties.b + event.properties.b != 'x')",
        "event.properties.a.all(x, event.properties.b.lowerAscii() != 'y')",
        "profile.attributes.a.map(x, profile.attributes.a.map(y, y)).size() > 0",
    ],
)
def test_a_costly_expression_is_found_out_when_it_is_tried(source: str) -> None:
    expression = compile_expression(source)
    begun = perf_counter()

    with pytest.raises(InvalidArgument) as caught:
        try_cost(expression)

    assert caught.value.reason == ErrorReason.ERROR_REASON_EXPRESSION_TOO_COSTLY
    assert perf_counter() - begun < 5


@pytest.mark.parametrize(
    "source",
    [
        'event.properties.value > 100.0 && profile.attributes.tier == "gold"',
        "event.properties.lines.exists(line, line.sku == 'b' && line.price > 10)",
        "event.properties.text.matches('(a+)+b')",
        "now - event.occur_time < duration('1h')",
    ],
)
def test_a_usual_expression_passes_its_trial(source: str) -> None:
    try_cost(compile_expression(source))


def test_an_expression_over_its_time_rests_instead_of_stalling_the_next_event() -> None:
    expression = compile_expression(
        "event.properties.a.all(x, event.properties.b + event.properties.b != 'x')"
    )
    context = a_context({"a": [1] * 8000, "b": "x" * 30_000})
    expression.matches(context)
    begun = perf_counter()

    with pytest.raises(ExpressionFailed, match="budget"):
        expression.matches(context)

    assert perf_counter() - begun < 0.01


def test_an_expression_that_waited_for_the_machine_does_not_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time that passes while others compute; resting refused messages of innocent campaigns."""
    expression = compile_expression("event.properties.value > 1")
    moments = iter([0.0, 60.0])
    monkeypatch.setattr(expressions, "perf_counter", lambda: next(moments, 60.0))
    assert expression.matches(a_context({"value": 2}))

    assert expression.matches(a_context({"value": 2}))


def test_quoted_text_is_no_call_and_no_loop() -> None:
    source = "event.id != \"replace( + + all(all(all(all(\" && event.id != 'join('"

    assert compile_expression(source).matches(a_context())


def test_one_context_serves_expressions_with_and_without_a_trigger() -> None:
    context = a_context({"value": 1}, trigger=EventFacts("t", "x", NOW, {}))

    assert compile_expression("event.properties.value == 1").matches(context)
    assert compile_expression("trigger.type == 'x'", with_trigger=True).matches(context)


def test_an_expression_over_the_event_alone_knows_nobody() -> None:
    event = EventFacts("e-1", "order_placed", NOW, {"value": 3})

    assert compile_event_expression("event.properties.value == 3").matches(
        make_event_context(event)
    )
    with pytest.raises(InvalidArgument):
        compile_event_expression("profile.locale == 'de'")
