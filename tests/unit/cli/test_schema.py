"""Makes sure that the published schema is that of the protos, and that the examples keep to it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.manifests.schema import PROTOS, build, read_comments, text

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docs" / "schema" / "beckon.schema.json"
EXAMPLES = sorted((ROOT / "examples").glob("*/*.yaml"))


class Editor(yaml.SafeLoader):
    """Reads YAML as editors do, by its version 1.2, which knows no times."""

    yaml_implicit_resolvers = {  # noqa: RUF012 — PyYAML reads it from the class
        first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return build(read_comments(PROTOS))


def test_the_published_schema_is_fresh(schema: dict[str, Any]) -> None:
    assert FILE.read_text() == text(schema), "run make gen"


def test_every_field_is_explained(schema: dict[str, Any]) -> None:
    silent = [
        f"{kind}.{name}"
        for kind, document in schema["$defs"].items()
        for name, field in document["properties"].items()
        if not field.get("description") and name != "kind"
    ]

    assert silent == []


def test_the_examples_keep_to_the_schema(schema: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema)
    for file in EXAMPLES:
        for document in yaml.load_all(file.read_text(), Loader=Editor):
            assert [error.message for error in validator.iter_errors(document)] == [], file.name


def test_a_choice_may_be_left_out_where_it_is_optional(schema: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    trait = {"kind": "Trait", "id": "a", "event_type": "b", "aggregate": "count"}
    validator = jsonschema.Draft202012Validator(schema)

    assert validator.is_valid(trait)
    assert validator.is_valid(trait | {"calendar": "month"})
    assert not validator.is_valid(trait | {"calendar": "month", "rolling": "30d"})


def test_the_examples_name_the_schema() -> None:
    for file in EXAMPLES:
        first = file.read_text().splitlines()[0]

        named = first.removeprefix("# yaml-language-server: $schema=")
        assert (file.parent / named).resolve() == FILE
