"""Makes sure that a profile is told only what it can use."""

import json

import pytest

from services.profile.model import Facts, Refused
from services.profile.rules import (
    ATTRIBUTE_BYTES_MAX,
    ATTRIBUTE_KEYS_MAX,
    Types,
    replace,
    revise,
)


def told(facts: Facts, properties: str, at_us: int = 5) -> Facts | Refused:
    return revise(facts, properties, at_us=at_us, types=Types())


def revised(facts: Facts, **properties: object) -> Facts:
    """Return the facts as they become, without the times."""
    after = told(facts, json.dumps(properties))
    assert isinstance(after, Facts)
    return after._replace(times="{}")


def refused(facts: Facts, **properties: object) -> Refused:
    answer = told(facts, json.dumps(properties))
    assert isinstance(answer, Refused)
    return answer


def test_reserved_keys_are_fields_and_never_attributes() -> None:
    facts = revised(
        Facts(),
        email="ana@example.com",
        phone="+4917012345",
        time_zone="Europe/Berlin",
        locale="pt-BR",
        tier="gold",
    )

    assert facts == Facts(
        '{"tier": "gold"}', "ana@example.com", "+4917012345", "Europe/Berlin", "pt-BR"
    )


def test_null_unsets() -> None:
    before = Facts('{"tier": "gold", "size": 3}', email="ana@example.com")

    assert revised(before, tier=None, email=None, other=None) == Facts('{"size": 3}')


def test_what_is_not_named_stays_to_the_letter() -> None:
    before = Facts('{"price": 1.10, "id": 123456789012345678901234567890}')

    assert revised(before, tier="gold").attributes == (
        '{"price": 1.10, "id": 123456789012345678901234567890, "tier": "gold"}'
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", "America"),
        ("time_zone", "localtime"),
        ("time_zone", 5),
        ("email", "ana"),
        ("email", "a@b@c"),
        ("email", "ana@example.com\n"),
        ("email", ["ana@example.com"]),
        ("email", "x" * 65 + "@example.com"),
        ("phone", "017012345"),
        ("phone", "+4917012345x"),
        ("phone", True),
        ("locale", "português"),
        ("locale", "pt_BR"),
        ("locale", "pt-" + "BR-" * 20),
    ],
)
def test_a_bad_reserved_value_refuses_the_whole_change(key: str, value: object) -> None:
    assert refused(Facts(), tier="gold", **{key: value}).field == f"properties.{key}"


def test_256_attributes_are_enough() -> None:
    full = revised(Facts(), **{f"k{at}": at for at in range(ATTRIBUTE_KEYS_MAX)})

    assert refused(full, one_more=1).field == "properties"
    assert revised(full, k0="changed", k1=None, one_more=1) != full


def test_attributes_are_at_most_64_kib() -> None:
    facts = revised(Facts(), long="x" * (ATTRIBUTE_BYTES_MAX - len('{"long": ""}')))

    assert refused(facts, a=1).field == "properties"
    assert refused(Facts(), long="ü" * ATTRIBUTE_BYTES_MAX).field == "properties"


def test_a_number_counts_with_all_the_digits_that_are_kept_of_it() -> None:
    tiny = ", ".join(["1e-16000"] * 5)

    assert isinstance(told(Facts(), f'{{"a": [{tiny}]}}'), Refused)
    assert isinstance(told(Facts(), '{"a": 1E+00000000000000000000000000099999}'), Refused)
    assert isinstance(told(Facts(), '{"a": [1e-16000, 2.5e3]}'), Facts)
    assert isinstance(told(Facts(), f'{{"a": "[{tiny}]"}}'), Facts)


def test_attributes_that_are_too_many_may_still_become_fewer() -> None:
    before = Facts(json.dumps({f"k{at}": "x" * 1000 for at in range(300)}))

    assert isinstance(told(before, '{"k0": null}'), Facts)


@pytest.mark.parametrize("key", ["", "x" * 129, "a/b", "$nothing", "a\0b", "\ud800"])
def test_a_key_is_neither_empty_nor_endless_nor_odd(key: str) -> None:
    assert refused(Facts(), **{key: 1}).field == "properties"


def test_a_value_from_before_its_rule_does_not_stand_in_the_way() -> None:
    before = Facts(time_zone="Mars/Olympus")

    wanted = before._replace(email="ana@example.com")
    assert isinstance(replace(before, wanted, at_us=5, types=Types()), Facts)


def test_properties_that_are_no_object_are_refused() -> None:
    assert isinstance(told(Facts(), "[1]"), Refused)


def test_a_change_says_when_each_key_was_written() -> None:
    first = told(Facts(), '{"tier": "gold", "size": 1, "email": "ana@example.com"}', 10)
    assert isinstance(first, Facts)
    then = told(first, '{"tier": null, "size": 1.0, "email": null, "locale": "de"}', 20)
    assert isinstance(then, Facts)

    assert json.loads(first.times) == {"tier": 10, "size": 10, "email": 10}
    assert json.loads(then.times) == {"tier": 20, "size": 10, "email": 20, "locale": 20}
    assert then.attributes == '{"size": 1}'


def test_what_replaces_a_write_counts_as_later_by_whatever_clock() -> None:
    first = told(Facts(), '{"tier": "gold"}', 10)
    assert isinstance(first, Facts)

    then = told(first, '{"tier": "blue"}', 9)

    assert isinstance(then, Facts)
    assert json.loads(then.times) == {"tier": 11}


@pytest.mark.parametrize(
    "properties",
    [
        '{"tier": "gold"}',
        '{"size": 1.10}',
        '{"home": {"b": [1, true], "a": 2.0}}',
        '{"email": "ana@example.com", "phone": null, "locale": ""}',
        '{"other": null, "$unset": ["none"], "$increment": {"size": 0}}',
        '{"$set_once": {"tier": "blue"}, "$append": {"likes": ["a", 1.0]}}',
        '{"$remove": {"likes": [true, "b"], "none": 1}}',
    ],
)
def test_what_is_so_already_changes_nothing(properties: str) -> None:
    before = Facts(
        '{"tier": "gold", "size": 1.1, "home": {"a": 2, "b": [1.0, true]}, "likes": ["a", 1]}',
        email="ana@example.com",
        times='{"tier": 1}',
    )

    assert told(before, properties) is before


def test_a_reserved_key_is_no_attribute_in_an_update() -> None:
    wanted = Facts('{"email": "ana@example.com"}')

    answer = replace(Facts(), wanted, at_us=5, types=Types())

    assert isinstance(answer, Refused)
    assert answer.field == "profile.attributes.email"
