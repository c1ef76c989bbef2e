"""Makes sure that a consistency token says what it was made of, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.profile.convert.tokens import is_behind, parse_token, token
from services.profile.model import Profile
from services.profile.model.persons import Person

KEY = ("acme", "ana")


def a_person(version: int, *members: str) -> Person:
    return Person(KEY, Profile(version=version), member_ids=members)


@given(st.integers(1, 2**63 - 1))
def test_who_has_the_version_or_a_later_one_is_not_behind(version: int) -> None:
    wanted = parse_token(token(KEY, version))

    assert is_behind(a_person(version - 1), KEY, wanted)
    assert not is_behind(a_person(version), KEY, wanted)
    assert is_behind(None, KEY, wanted)


def test_a_token_of_any_id_of_the_person_counts_and_no_other() -> None:
    of_member, of_other = (parse_token(token(("acme", one), 5)) for one in ("anon", "ben"))

    assert is_behind(a_person(4, "ana", "anon"), KEY, of_member)
    assert not is_behind(a_person(4, "ana"), KEY, of_member)
    assert not is_behind(a_person(4, "ana"), KEY, of_other)
    assert not is_behind(a_person(4), KEY, parse_token(token(("bolt", "ana"), 5)))


@given(st.data())
def test_a_changed_token_is_not_one(data: st.DataObject) -> None:
    text = token(KEY, data.draw(st.integers(1, 2**40)))
    at = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.characters().filter(lambda one: one != text[at]))

    with pytest.raises(InvalidArgument):
        parse_token(text[:at] + other + text[at + 1 :])


@given(st.text() | st.text(max_size=27, min_size=27))
def test_no_other_text_is_a_token(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_token(text)
