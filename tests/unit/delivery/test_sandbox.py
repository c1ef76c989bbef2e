"""Makes sure that templates reach data and nothing else."""

from typing import Any

import msgspec
import pytest
from jinja2.exceptions import SecurityError, UndefinedError

from services.delivery.render import sandbox
from services.delivery.render.child import _Child
from services.delivery.render.wire import Job, Rendered, Texts, Work

PLAIN = sandbox.make(html=False)
HTML = sandbox.make(html=True)


def render(text: str, data: dict[str, Any], *, environment: Any = PLAIN) -> str:
    return str(environment.from_string(text).render(data))


def child_renders(
    data: object, *, defaults: object = None, body: str = "", text: str = ""
) -> Rendered:
    texts = Texts("S", text, "", body, msgspec.json.encode(defaults or {}))
    work = Work("k", 2 if body else 1, "d1", "cart", msgspec.json.encode(data))
    return _Child(1 << 20).turn(Job(1.0, {"k": texts}, False, [work])).rendered[0]


def test_data_comes_before_methods() -> None:
    assert render("{{ event.items }}", {"event": {"items": 3}}) == "3"
    assert render("{% for k, v in event.items() %}{{ k }}{% endfor %}", {"event": {"a": 1}}) == "a"


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 2 ** 100000 }}",
        "{{ '%99999999d' % 1 }}",
    ],
)
def test_nothing_is_made_much(text: str) -> None:
    with pytest.raises(SecurityError):
        render(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "{{ event.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ event['__class__'] }}",
        "{{ (1).__class__ }}",
        "{{ event.get.__self__ }}",
        "{{ event.update({'a': 1}) }}",
        "{{ event|attr('__class__') }}",
        "{{ '{0.__class__}'.format(event) }}",
    ],
)
def test_nothing_but_data_is_reached(text: str) -> None:
    with pytest.raises((SecurityError, UndefinedError)):
        render(text, {"event": {"b": 1}})


def test_missing_and_null_are_no_text() -> None:
    for text in (
        "{{ event.a }}",
        "{{ event.b }}",
        "{% if event.b %}x{% endif %}",
        "{{ event.b|tojson }}",
    ):
        with pytest.raises(UndefinedError):
            render(text, {"event": {"a": None}})


def test_html_is_escaped_and_json_in_it_is_safe() -> None:
    data = {"event": {"a": "<b>'&"}}

    assert render("{{ event.a }}", data, environment=HTML) == "&lt;b&gt;&#39;&amp;"
    assert "<" not in render("{{ event.a|tojson }}", data, environment=HTML)
    assert render("{{ event.a|tojson }}", data) == '"<b>\'&"'


def test_ids_are_written_either_way() -> None:
    rendered = child_renders({"event": {}}, text="{{ campaign }} {{ campaign.id }} {{ delivery }}")

    assert rendered.text == "cart cart d1"


def test_defaults_stand_in_for_what_is_missing_or_null() -> None:
    text = "{{ profile.attributes.name }} {{ event.properties.a.b }}"
    defaults = {"profile.attributes.name": "there", "event.properties.a.b": 1}

    rendered = child_renders(
        {"profile": {"attributes": {"name": None}}}, defaults=defaults, text=text
    )

    assert rendered.text == "there 1"


def test_a_default_never_replaces_data() -> None:
    rendered = child_renders(
        {"profile": {"attributes": "odd", "name": ""}},
        defaults={"profile.attributes.name": "x", "profile.name": "x"},
        text="{{ profile.attributes }}{{ profile.name }}",
    )

    assert rendered.text == "odd"


def test_missing_data_is_named() -> None:
    rendered = child_renders(
        {"event": {"a": 1}}, text="{{ event.a }} {{ event.b.c }} {{ event['d'] }}"
    )

    assert (rendered.fault, rendered.detail) == ("DATA_MISSING", "event.b.c, event.d")


def test_a_line_break_in_a_subject_becomes_a_space() -> None:
    texts = Texts("{{ event.a }}", "t", "", "", b"{}")
    work = Work("k", 1, "d", "c", b'{"event":{"a":"one\\r\\nBcc: two"}}')

    rendered = _Child(1 << 20).turn(Job(1.0, {"k": texts}, False, [work])).rendered[0]

    assert rendered.subject == "one Bcc: two"


def test_a_body_that_is_no_json_is_a_fault() -> None:
    assert (
        child_renders({"event": {"a": 'x"y'}}, body='{"a": "{{ event.a }}"}').fault
        == "BODY_NOT_JSON"
    )
    assert child_renders({"event": {"a": 'x"y'}}, body='{"a": {{ event.a|tojson }}}').fault == ""


def test_a_part_has_a_size() -> None:
    text = "{% for a in event.a %}{{ event.b }}{% endfor %}"
    data = {"event": {"a": [1] * 200, "b": "x" * 10_000}}

    rendered = child_renders(data, text=text)

    assert (rendered.fault, rendered.detail) == ("TOO_LARGE", "2000000 of 1048576")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"', b"\xff", b'{"event": "\\ud800"}'])
def test_data_that_is_none_is_a_fault(data: bytes) -> None:
    texts = Texts("s", "{{ event }}", "", "", b"{}")

    rendered = (
        _Child(1 << 20)
        .turn(Job(1.0, {"k": texts}, False, [Work("k", 1, "d", "c", data)]))
        .rendered[0]
    )

    assert rendered.fault == "DATA_INVALID"
