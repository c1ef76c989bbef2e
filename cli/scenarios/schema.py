"""Publishes what scenario files may say as a JSON schema: for editors.

`make gen` writes it to docs/schema/scenario.schema.json, beside that of manifests.
"""

from collections.abc import Mapping
from typing import Any

from cli.manifests import schema as manifests
from cli.scenarios.shape import (
    SCENARIO,
    Anything,
    ByName,
    Choice,
    Fields,
    Manifest,
    Number,
    OneOf,
    Several,
    Shape,
    Text,
    Time,
)


def build(comments: manifests.Comments) -> dict[str, Any]:
    """Return the schema of a scenario."""
    schema = _fields(SCENARIO)
    defs = manifests.build(comments)["$defs"]
    return {
        "$schema": manifests.SCHEMA,
        "title": "Beckon scenario",
        **schema,
        "$defs": {name: _without_kind(one) for name, one in defs.items()},
    }


def _without_kind(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a manifest whose kind the place says, and the part for edits."""
    required = [one for one in document.get("required", ()) if one != "kind"]
    return {**document, "required": required}


def _of(shape: Shape) -> dict[str, Any]:
    match shape:
        case Several(_, of, single):
            several: dict[str, Any] = {"type": "array", "items": _of(of)}
            return {"oneOf": [_of(of), several]} if single else several
        case ByName():
            return _by_name(shape)
        case Manifest(_, kind, partial):
            reference = {"$ref": f"#/$defs/{kind.name}"}
            # What is changed is some of it: all that it may say, and nothing that it must.
            return {"type": "object"} if partial else reference
        case Anything():
            return {"type": "object"}
        case Fields():
            return _fields(shape)
        case OneOf():
            return _one_of(shape)
        case Text() | Time() | Choice() | Number():
            return _single(shape)


def _single(shape: Text | Time | Choice | Number) -> dict[str, Any]:
    match shape:
        case Text(_, pattern):
            return {"type": "string", "pattern": pattern} if pattern else {"type": "string"}
        case Time():
            return {"type": "string", "examples": ["2026-03-29 09:00", "+30m"]}
        case Choice(_, words):
            return {"enum": list(words)}
        case Number():
            return {"type": "number"}


def _by_name(shape: ByName) -> dict[str, Any]:
    of = _told(shape.of)
    if isinstance(shape.of, Fields):
        of = {"oneOf": [of, {"type": "null"}]}
    if shape.pattern:
        return {
            "type": "object",
            "patternProperties": {shape.pattern: of},
            "additionalProperties": False,
        }
    return {"type": "object", "additionalProperties": of}


def _fields(shape: Fields, common: Mapping[str, Shape] | None = None) -> dict[str, Any]:
    fields = {**(common or {}), **shape.fields}
    return {
        "type": "object",
        "description": shape.help,
        "additionalProperties": False,
        "properties": {name: _told(one) for name, one in fields.items()},
        "required": list(shape.required),
    }


def _one_of(shape: OneOf) -> dict[str, Any]:
    choices = []
    for name, choice in shape.choices.items():
        schema = _fields(choice, shape.common)
        schema["required"] = [name, *choice.required]
        choices.append(schema)
    return {"oneOf": choices}


def _told(shape: Shape) -> dict[str, Any]:
    return {"description": shape.help, **_of(shape)}
