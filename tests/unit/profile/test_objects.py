"""Makes sure that JSON objects come apart and together again without a change to any value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile.rules import NotAnObject, join, split

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values), st.sampled_from([None, 2]), st.booleans())
def test_what_is_split_and_joined_is_the_same_object(
    content: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)

    parts = split(text)

    assert {key: json.loads(value) for key, value in parts.items()} == content
    assert json.loads(join(parts)) == content


@pytest.mark.parametrize(
    "number", ["1.10", "1e400", "123456789012345678901234567890", "-0", "0.1000000000000000000001"]
)
def test_a_number_stays_the_text_it_was(number: str) -> None:
    assert join(split(f'{{"n":{number}}}')) == f'{{"n": {number}}}'


def test_of_equal_keys_the_last_wins() -> None:
    assert split('{"a": 1, "a": 2}') == {"a": "2"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "1", "null", "{", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1}x', "{a:1}", '{1:"a"}',
     '{"a":1 "b":2}', '{"a' + "\n" + '":1}', '{"a":' + "[" * 100_000 + "}"],
)  # fmt: skip
def test_what_is_no_object_is_told_so(text: str) -> None:
    with pytest.raises(NotAnObject):
        split(text)


@given(st.text(alphabet='{}[]":,x1 \\'))
def test_no_text_gets_through_that_json_refuses(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None

    try:
        parts = split(text)
    except NotAnObject:
        assert not isinstance(expected, dict)
    else:
        assert {key: json.loads(value) for key, value in parts.items()} == expected
