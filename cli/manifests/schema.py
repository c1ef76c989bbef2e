"""Publishes what manifests may say as a JSON schema, out of the protos: for editors.

`make gen` writes it to docs/schema/beckon.schema.json; the protos of a checkout hold the comments.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from cli.durations import DURATION_PATTERN, SIGNED_PATTERN
from cli.manifests import kinds
from cli.manifests.kinds import KINDS, Kind
from mesh.names import RESOURCE_ID_PATTERN

SCHEMA = "https://json-schema.org/draft/2020-12/schema"
PROTOS = Path(__file__).resolve().parents[2] / "protos"

Comments = Mapping[str, str]
"""By full name: `beckon.trigger.v1.Campaign.delay`."""

_OPENING = re.compile(r"^\s*(message|enum|oneof)\s+(\w+)\s*\{")
_FIELD = re.compile(r"^\s*(?:optional |repeated )?(?:map<[^>]*>|[\w.]+)\s+(\w+)\s*=\s*\d+")
_VALUE = re.compile(r"^\s*([A-Z][A-Z0-9_]*)\s*=\s*\d+")


def build(comments: Comments) -> dict[str, Any]:
    """Return the schema of a document."""
    return {
        "$schema": SCHEMA,
        "title": "Beckon",
        "description": "A campaign or what it needs, for `beckon apply`.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in KINDS],
        "$defs": {kind.name: _document(kind, comments) for kind in KINDS.values()},
    }


def text(schema: Mapping[str, Any]) -> str:
    """Return the schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def read_comments(folder: Path) -> dict[str, str]:
    """Return the comments above messages, fields and enum values of all protos in a folder."""
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*.proto")):
        found |= _comments_of(file.read_text("utf-8"))
    return found


def _comments_of(source: str) -> dict[str, str]:
    match = re.search(r"^package ([\w.]+);", source, re.MULTILINE)
    path = [match[1]] if match else []
    found: dict[str, str] = {}
    said: list[str] = []
    depth = 0
    # Names that a scope adds: none for a oneof, whose fields are the message's own.
    scopes: list[tuple[int, int]] = []
    for line in source.splitlines():
        stripped = line.strip()
        if stripped.startswith("//"):
            said.append(stripped.removeprefix("//").strip())
            continue
        if opening := _OPENING.match(line):
            names = [] if opening[1] == "oneof" else [opening[2]]
            found[".".join([*path, opening[2]])] = " ".join(said)
            path += names
            scopes.append((depth, len(names)))
        elif depth == len(scopes) and (member := _FIELD.match(line) or _VALUE.match(line)):
            found[".".join([*path, member[1]])] = " ".join(said)
        said = []
        depth += line.count("{") - line.count("}")
        while scopes and depth <= scopes[-1][0]:
            _, names_count = scopes.pop()
            del path[len(path) - names_count :]
    return found


def _document(kind: Kind, comments: Comments) -> dict[str, Any]:
    schema = _message(kind.descriptor, comments)
    own: dict[str, Any] = {"kind": {"const": kind.name}}
    if not kind.singleton:
        pattern = f"^{kind.id_pattern}$"
        own["id"] = {"type": "string", "pattern": pattern, "description": "Its id."}
    if kind.states:
        own["state"] = {
            "enum": list(kind.states),
            "description": "Where it should be; absent: where it is. A new one is a draft.",
        }
    schema["properties"] = own | schema["properties"]
    schema["required"] = ["kind", *(["id"] if "id" in own else []), *schema["required"]]
    return schema


def _message(descriptor: Descriptor, comments: Comments) -> dict[str, Any]:
    fields = kinds.writable(descriptor)
    schema: dict[str, Any] = {
        "type": "object",
        "description": comments.get(descriptor.full_name, ""),
        "additionalProperties": False,
        "properties": {name: _field(field, comments) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if kinds.required(field)],
    }
    choices = [_choice(oneof) for oneof in kinds.choices(descriptor)]
    if choices:
        schema["allOf"] = choices
    return schema


def _choice(oneof: OneofDescriptor) -> dict[str, Any]:
    each: list[Any] = [{"required": [field.name]} for field in oneof.fields]
    if not kinds.must_choose(oneof):
        each.append({"not": {"anyOf": list(each)}})
    return {"oneOf": each}


def _field(field: FieldDescriptor, comments: Comments) -> dict[str, Any]:
    rules = kinds.rules_of(field)
    if kinds.is_map(field):
        schema: dict[str, Any] = {"type": "object", "maxProperties": rules.map.max_pairs or 100}
    elif kinds.repeated(field):
        items = _single(field, rules.repeated.items, comments)
        schema = {"type": "array", "items": items}
        if rules.repeated.HasField("min_items"):
            schema["minItems"] = rules.repeated.min_items
        if rules.repeated.HasField("max_items"):
            schema["maxItems"] = rules.repeated.max_items
        if rules.repeated.unique:
            schema["uniqueItems"] = True
    else:
        schema = _single(field, rules, comments)
    return {"description": comments.get(field.full_name, "")} | {
        key: value for key, value in schema.items() if key != "description"
    }


def _single(
    field: FieldDescriptor, rules: validate_pb2.FieldRules, comments: Comments
) -> dict[str, Any]:
    if field.message_type is not None:
        match field.message_type.full_name:
            case kinds.DURATION:
                return _duration(field)
            case kinds.TIMESTAMP:
                return {"type": "string", "format": "date-time"}
            case kinds.VALUE:
                return {"type": ["string", "number", "boolean", "null", "array", "object"]}
            case _:
                return _message(field.message_type, comments)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _text(field, rules)
        case FieldDescriptor.TYPE_ENUM:
            return {"enum": list(kinds.enum_names(field))}
        case FieldDescriptor.TYPE_BOOL:
            return {"const": True} if rules.bool.const else {"type": "boolean"}
        case FieldDescriptor.TYPE_DOUBLE:
            return {"type": "number"} | _bounds(rules.double)
        case FieldDescriptor.TYPE_INT64:
            return {"type": "integer"} | _bounds(rules.int64)
        case _:
            return {"type": "integer"} | _bounds(rules.int32)


def _duration(field: FieldDescriptor) -> dict[str, Any]:
    if kinds.signed(field):
        return {"type": "string", "pattern": SIGNED_PATTERN, "examples": ["-3d", "30m"]}
    return {"type": "string", "pattern": DURATION_PATTERN, "examples": ["30m", "14d"]}


def _bounds(
    rules: validate_pb2.DoubleRules | validate_pb2.Int32Rules | validate_pb2.Int64Rules,
) -> dict[str, Any]:
    words = {"gte": "minimum", "lte": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
    return {word: getattr(rules, name) for name, word in words.items() if rules.HasField(name)}  # type: ignore[arg-type]


def _text(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if rules.string.HasField("min_len"):
        schema["minLength"] = rules.string.min_len
    if rules.string.HasField("max_len"):
        schema["maxLength"] = rules.string.max_len
    patterns = [rules.string.pattern] if rules.string.HasField("pattern") else []
    if collection := kinds.REFERENCES.get(field.full_name):
        # References are written as ids; names are allowed, too.
        own = kinds.referred_pattern(collection)
        name = f"^workspaces/{RESOURCE_ID_PATTERN}/{collection}/{own}$"
        patterns = [f"^{own}$", *(patterns or [name])]
    if patterns:
        schema["pattern"] = "|".join(patterns)
    if not kinds.takes_file(field):
        return schema
    file = {
        "type": "object",
        "description": "Reads the text from a file beside this one.",
        "properties": {
            "file": {"type": "string", "description": "Its path, from the folder of this file."}
        },
        "required": ["file"],
        "additionalProperties": False,
    }
    return {"oneOf": [schema, file]}
