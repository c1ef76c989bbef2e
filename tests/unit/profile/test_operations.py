"""Makes sure that operations do what they would do to a plain dictionary, and round nothing."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.profile.model import Facts, Refused
from services.profile.model.attributes import AttributeType, TypeConflict
from services.profile.rules import Types, patch, revise
from services.profile.rules.operations import LIST_ITEMS_MAX, Operations, operations

# Each key has one kind of value, as in a workspace with settled types.
numbers = st.integers(-(2**70), 2**70) | st.decimals(-1000, 1000, places=2).map(str).map(Decimal)
words = st.sampled_from(["a", "b", "ü", '"', "1", ""])
items = st.none() | st.booleans() | st.integers(-3, 3) | words
lists = st.lists(items, max_size=5)
number_keys, list_keys, word_keys = (st.sampled_from(list(keys)) for keys in ("nm", "lk", "wx"))


def by_kind(*, empty: bool) -> st.SearchStrategy[dict[str, object]]:
    nothing = st.none() if empty else st.nothing()
    return st.builds(
        lambda *parts: {key: value for part in parts for key, value in part.items()},
        st.dictionaries(number_keys, numbers | nothing),
        st.dictionaries(list_keys, lists | nothing),
        st.dictionaries(word_keys, words | nothing),
    )


def text_of(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def texts(values: dict[str, object]) -> dict[str, str]:
    return {key: text_of(value) for key, value in values.items()}


def plain(text: str) -> dict[str, object]:
    """Read with exact numbers, told apart from booleans."""
    values: dict[str, object] = json.loads(text, parse_int=Fraction, parse_float=Fraction)
    return values


def tagged(value: object) -> object:
    """Return the value such that 1 is not True."""
    if isinstance(value, list):
        return [tagged(item) for item in value]
    if isinstance(value, (int, Decimal, Fraction)) and not isinstance(value, bool):
        return ("number", Fraction(value))
    return (type(value).__name__, value)


def reference(
    values: dict[str, object],
    write: dict[str, object],
    once: dict[str, object],
    increment: dict[str, int | Decimal],
    append: dict[str, object],
    remove: dict[str, object],
    unset: list[str],
) -> dict[str, object]:
    """Do the operations to a dictionary, the slow way."""
    after = {key: tagged(value) for key, value in values.items()}
    for key, value in write.items():
        after[key] = tagged(value)
        if value is None:
            del after[key]
    for key, value in once.items():
        if value is not None:
            after.setdefault(key, tagged(value))
    for key, by in increment.items():
        before = after.get(key, ("number", Fraction(0)))
        assert isinstance(before, tuple)
        after[key] = ("number", before[1] + Fraction(by))
    change_lists(after, append, remove)
    for key in unset:
        after.pop(key, None)
    return after


def change_lists(
    after: dict[str, object], append: dict[str, object], remove: dict[str, object]
) -> None:
    for key, value in append.items():
        found = after.setdefault(key, [])
        assert isinstance(found, list)
        for item in value if isinstance(value, list) else [value]:
            if tagged(item) not in found:
                found.append(tagged(item))
    for key, value in remove.items():
        gone = [tagged(item) for item in (value if isinstance(value, list) else [value])]
        if key in after:
            found = after[key]
            assert isinstance(found, list)
            after[key] = [item for item in found if item not in gone]


list_changes = st.dictionaries(list_keys, lists | items)


@given(
    by_kind(empty=False),
    by_kind(empty=True),
    by_kind(empty=True),
    st.dictionaries(number_keys, numbers),
    list_changes,
    list_changes,
    st.lists(st.sampled_from(list("nmlkwxz"))),
    st.booleans(),
)
@example({"n": 2**53 + 1}, {}, {}, {"n": 1}, {}, {}, [], True)
@example({"l": [True, 1]}, {}, {}, {}, {"l": [1, True, None]}, {"l": True}, [], True)
def test_operations_do_what_they_do_to_a_dictionary(
    before: dict[str, object],
    write: dict[str, object],
    once: dict[str, object],
    increment: dict[str, int | Decimal],
    append: dict[str, object],
    remove: dict[str, object],
    unset: list[str],
    told: bool,
) -> None:
    facts = Facts("{" + ", ".join(f'"{key}": {text_of(v)}' for key, v in before.items()) + "}")
    expected = reference(before, write, once, increment, append, remove, unset)
    marked = {
        "set_once": texts(once),
        "increment": {key: text_of(by) for key, by in increment.items()},
        "append": texts(append),
        "remove": texts(remove),
    }

    if told:
        # As an event says it.
        members = [f"{json.dumps(key)}: {text}" for key, text in texts(write).items()]
        for name, values in marked.items():
            content = ", ".join(f"{json.dumps(key)}: {text}" for key, text in values.items())
            members.append(f'"${name}": {{{content}}}')
        members.append(f'"$unset": {json.dumps(unset)}')
        after = revise(facts, "{" + ", ".join(members) + "}", at_us=7, types=Types())
    else:
        wanted = Operations(texts(write), **marked, unset=unset)
        after = patch(facts, wanted, at_us=7, types=Types())

    assert isinstance(after, Facts), after
    got = {key: tagged(value) for key, value in plain(after.attributes).items()}
    assert got == expected
    unchanged = {key: tagged(value) for key, value in before.items()} == expected
    assert (after is facts) == unchanged
    changed = {
        key
        for key in before.keys() | expected.keys()
        if key not in before or key not in expected or tagged(before[key]) != expected[key]
    }
    assert json.loads(after.times) == dict.fromkeys(changed, 7)


def told(before: str, properties: str, types: Types | None = None) -> Facts | Refused:
    held = types if types is not None else Types()
    return revise(Facts(before), properties, at_us=7, types=held)


def attributes(before: str, properties: str) -> str:
    facts = told(before, properties)
    assert isinstance(facts, Facts), facts
    return facts.attributes


@pytest.mark.parametrize(
    ("before", "by", "after"),
    [
        ("9007199254740993", "1", "9007199254740994"),
        ("1.10", "0.2", "1.30"),
        ("0.1", "0.2", "0.3"),
        ("-0", "0", "-0"),
        ("1e3", "1", "1001"),
        ("12345678901234567890123456789012345678901", "1", "12345678901234567890123456789012345678902"),
    ],
)  # fmt: skip
def test_a_sum_is_exact(before: str, by: str, after: str) -> None:
    got = attributes(f'{{"n": {before}}}', f'{{"$increment": {{"n": {by}}}}}')

    assert got == f'{{"n": {after}}}'


@pytest.mark.parametrize("by", ['"1"', "true", "null", "[1]", "NaN"])
def test_only_numbers_increment(by: str) -> None:
    refused = told("{}", f'{{"$increment": {{"n": {by}}}}}')

    assert isinstance(refused, Refused)
    assert refused.field == "properties.$increment.n"


@pytest.mark.parametrize(
    ("before", "by"),
    [
        ("9e308", "9e308"),
        ("1e308", "1e308"),
        # As PostgreSQL keeps it.
        ("1" + "0" * 308, "1" + "0" * 308),
        ("-1" + "0" * 308, "-1e308"),
        ("1" + "0" * 400, "1"),
        ("0", "1e-400"),
        ("0", "1e99999999"),
    ],
)
def test_a_sum_that_no_double_holds_is_refused(before: str, by: str) -> None:
    refused = told(f'{{"n": {before}}}', f'{{"$increment": {{"n": {by}}}}}')

    assert isinstance(refused, Refused)
    assert refused.field == "properties.$increment.n"
    assert "no double holds" in refused.description


@pytest.mark.parametrize("number", ["5e-324", "-5e-324", "1.7976931348623157e308"])
def test_what_can_be_set_can_be_the_sum(number: str) -> None:
    attributes_set = attributes("{}", f'{{"n": {number}}}')
    summed = attributes("{}", f'{{"$increment": {{"n": {number}}}}}')

    assert plain(summed) == plain(attributes_set)


@pytest.mark.parametrize(
    ("before", "operation", "takes", "got"),
    [
        ('{"k": "5"}', '"$increment": {"k": 1}', "STRING", "NUMBER"),
        ('{"k": "5"}', '"$append": {"k": 1}', "STRING", "LIST"),
        ('{"k": {}}', '"$remove": {"k": 1}', "OBJECT", "LIST"),
        ('{"k": true}', '"$increment": {"k": 1}', "BOOLEAN", "NUMBER"),
    ],
)
def test_an_operation_on_another_type_says_what_there_is(
    before: str, operation: str, takes: str, got: str
) -> None:
    refused = told(before, f"{{{operation}}}")

    assert isinstance(refused, TypeConflict)
    assert refused.description == f"attribute k takes {takes}, got {got}"


@pytest.mark.parametrize("key", ["email", "time_zone"])
def test_a_field_is_neither_a_number_nor_a_list(key: str) -> None:
    assert isinstance(told("{}", f'{{"$increment": {{"{key}": 1}}}}'), Refused)
    assert isinstance(told("{}", f'{{"$append": {{"{key}": "a"}}}}'), Refused)


def test_a_field_is_set_once_and_unset_like_an_attribute() -> None:
    first = told("{}", '{"$set_once": {"locale": "de"}}')
    assert isinstance(first, Facts)
    again = revise(first, '{"$set_once": {"locale": "fr"}}', at_us=8, types=Types())
    assert isinstance(again, Facts)
    gone = revise(again, '{"$unset": ["locale"]}', at_us=9, types=Types())
    assert isinstance(gone, Facts)

    assert (first.locale, again.locale, gone.locale) == ("de", "de", "")


@pytest.mark.parametrize(
    "properties",
    ['{"$set_once": 1}', '{"$append": []}', '{"$unset": {}}', '{"$unset": [1]}', '{"$plus": {}}'],
)
def test_what_is_no_operation_is_refused(properties: str) -> None:
    assert isinstance(told("{}", properties), Refused)


def test_a_list_holds_1000_items() -> None:
    full = json.dumps({"l": list(range(LIST_ITEMS_MAX))})
    fuller = json.dumps({"l": list(range(LIST_ITEMS_MAX + 9))})

    assert isinstance(told(full, '{"$append": {"l": "one more"}}'), Refused)
    assert isinstance(told(full, '{"$append": {"l": 5}}'), Facts)
    assert isinstance(told("{}", fuller), Refused)
    # From before there was a bound.
    assert isinstance(told(fuller, '{"$remove": {"l": 5}}'), Facts)


def test_a_bad_operation_leaves_nothing_behind() -> None:
    types = Types()

    refused = told('{"k": 1}', '{"a": 1, "$append": {"b": [1], "k": 2}}', types)

    assert isinstance(refused, TypeConflict)
    assert types.new == {}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ('"2026-01-31T09:00:00Z"', AttributeType.TIMESTAMP),
        ('"2026-01-31T09:00:00.123456789+05:30"', AttributeType.TIMESTAMP),
        ('"2026-02-30T09:00:00Z"', AttributeType.STRING),
        ('"2026-01-31T09:00:00"', AttributeType.STRING),
        ('"2026-01-31"', AttributeType.STRING),
        ('""', AttributeType.STRING),
        ("-1.5e3", AttributeType.NUMBER),
        ("false", AttributeType.BOOLEAN),
        ("[]", AttributeType.LIST),
        ("{}", AttributeType.OBJECT),
    ],
)
def test_the_first_value_settles_the_type(value: str, kind: AttributeType) -> None:
    types = Types()

    assert isinstance(told("{}", f'{{"k": {value}, "none": null}}', types), Facts)
    assert types.new == {"k": kind}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (AttributeType.STRING, ['"a"', '"2026-01-31T09:00:00Z"'], ["1", "[]"]),
        (AttributeType.TIMESTAMP, ['"2026-01-31T09:00:00Z"'], ['"tomorrow"', "5", '""']),
        (AttributeType.NUMBER, ["1", "-2.5"], ['"1"', "true"]),
        (AttributeType.LIST, ['["a", 1]'], ["{}", '"a"']),
    ],
)
def test_a_settled_type_takes_its_own_and_names_what_else_came(
    kind: AttributeType, good: list[str], bad: list[str]
) -> None:
    for value in good:
        assert isinstance(told("{}", f'{{"k": {value}}}', Types({"k": kind})), Facts)
    for value in bad:
        refused = told("{}", f'{{"k": {value}}}', Types({"k": kind}))
        assert isinstance(refused, TypeConflict)
        assert (refused.attribute, refused.type) == ("k", kind)
    assert isinstance(told("{}", '{"k": null}', Types({"k": kind})), Facts)


def test_a_later_write_meets_the_type_of_an_earlier_one() -> None:
    types = Types()

    assert isinstance(told("{}", '{"k": 1}', types), Facts)
    assert isinstance(told("{}", '{"k": "one"}', types), TypeConflict)


def test_a_workspace_has_only_so_many_attributes() -> None:
    types = Types({"old": AttributeType.NUMBER}, room=2)

    assert isinstance(told("{}", '{"a": 1, "b": 2, "c": 3}', types), Refused)
    assert isinstance(told("{}", '{"a": 1, "b": 2, "old": 3}', types), Facts)
    assert isinstance(told("{}", '{"c": 1}', types), Refused)


def test_a_number_that_python_does_not_read_is_no_list_of_keys() -> None:
    refused = operations(f'{{"$unset": {"1" * 5000}}}')

    assert isinstance(refused, Refused)
    assert refused.field == "properties.$unset"
