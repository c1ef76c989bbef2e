"""Turns YAML nodes into messages, by the messages' own descriptors, remembering every place."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message as ProtoMessage

from cli.durations import parse_duration, parse_time
from cli.manifests import kinds
from cli.manifests.kinds import KINDS, Kind
from cli.manifests.places import Faults, Place
from cli.manifests.read import documents, fill_in, place_of, read_text, text_place
from mesh.interceptors.validate import violations_of

_DEPTH_MAX = 20
_OWN = ("kind", "id", "state")

_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")

_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_WHOLE = "tag:yaml.org,2002:int"
_NUMBER = "tag:yaml.org,2002:float"
_TRUTH = "tag:yaml.org,2002:bool"
_SAID = {_NULL: "nothing", _WHOLE: "a number", _NUMBER: "a number", _TRUTH: "true or false"}

# What protovalidate says of a pattern is the pattern.
_PATTERNS = {
    "^[a-z][a-z0-9_]{0,62}$": "must be snake_case of at most 63 characters, as order_placed",
}


@dataclass(slots=True, kw_only=True)
class Document:
    """One resource as a file wants it."""

    kind: Kind
    id: str
    message: ProtoMessage
    state: str
    """'' where the file does not say."""
    place: Place
    places: dict[str, Place] = field(default_factory=dict)
    """Of every field by its path: `exceptions[0].filter`."""

    @property
    def title(self) -> str:
        """For people: `Campaign abandoned-cart`."""
        return f"{self.kind.name} {self.id}".rstrip()

    @property
    def name(self) -> str:
        """Of the resource."""
        name: str = self.message.name  # type: ignore[attr-defined]
        return name

    def place_of(self, path: str) -> Place:
        """Return where a field stands; the nearest around it, if it is not written itself."""
        path = path.removeprefix(f"{self.kind.request_field}.")
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get(path, self.place)


def decode_files(
    files: Iterable[Path], *, workspace: str, variables: Mapping[str, str], faults: Faults
) -> list[Document]:
    """Return the documents of files, with every fault taken down that can be seen from here."""
    found: list[Document] = []
    for file in files:
        for node in documents(file, faults):
            document = _Decoder(file, workspace, variables, faults).decode(node)
            if document is not None:
                found.append(document)
    _refuse_twins(found, faults)
    return found


def decode_node(
    node: yaml.MappingNode,
    file: Path,
    *,
    workspace: str,
    variables: Mapping[str, str],
    faults: Faults,
) -> Document | None:
    """Return the document that a node of a file describes; None, and faults, if it does not."""
    begun = len(faults.found)
    document = _Decoder(file, workspace, variables, faults).decode(node)
    return None if len(faults.found) > begun else document


class _Decoder:
    def __init__(
        self, file: Path, workspace: str, variables: Mapping[str, str], faults: Faults
    ) -> None:
        self._file = file
        self._workspace = workspace
        self._variables = variables
        self._faults = faults
        self._places: dict[str, Place] = {}

    def decode(self, node: yaml.MappingNode) -> Document | None:
        begun = len(self._faults.found)
        own = {key: value for key, _, value in self._pairs(node, "") if key in _OWN}
        kind = self._kind(node, own.get("kind"))
        if kind is None:
            return None
        identifier = self._id(kind, node, own.get("id"))
        state = self._state(kind, own.get("state"))
        message = kind.type()
        self._fill(message, node, "", ours=kind)
        message.name = kind.name_of(self._workspace, identifier)  # type: ignore[attr-defined]
        document = Document(
            kind=kind,
            id=identifier,
            message=message,
            state=state,
            place=place_of(self._file, node),
            places=self._places,
        )
        if len(self._faults.found) == begun:
            self._validate(document)
        return document

    def _kind(self, document: yaml.MappingNode, node: yaml.Node | None) -> Kind | None:
        known = ", ".join(KINDS)
        if node is None:
            if any(key == "steps" for key, _, _ in self._pairs(document, "")):
                self._fault(document, "a scenario, for `beckon test`; keep it in another folder")
            else:
                self._fault(document, f"`kind` is missing; expected one of {known}")
            return None
        text = self._text(node, "kind")
        if text is None:
            return None
        if text not in KINDS:
            self._fault(node, f"kind: {text!r} is none{_guess(text, KINDS)}; expected {known}")
            return None
        return KINDS[text]

    def _id(self, kind: Kind, document: yaml.Node, node: yaml.Node | None) -> str:
        if kind.singleton:
            if node is not None:
                self._fault(node, f"id: {kind.name} have none: a workspace has one of them")
            return ""
        if node is None:
            self._fault(document, f"`id` is missing; expected {kind.id_form}")
            return ""
        text = self._text(node, "id")
        if text is None:
            return ""
        if re.fullmatch(kind.id_pattern, text) is None:
            self._fault(node, f"id: {text!r} must be {kind.id_form}")
        return text

    def _state(self, kind: Kind, node: yaml.Node | None) -> str:
        if node is None:
            return ""
        if not kind.states:
            self._fault(node, f"state: a {kind.name} has none")
            return ""
        text = self._text(node, "state")
        if text is None:
            return ""
        if text not in kind.states:
            known = ", ".join(kind.states)
            self._fault(
                node, f"state: {text!r} is none{_guess(text, kind.states)}; expected {known}"
            )
        return text

    def _fill(
        self, message: ProtoMessage, node: yaml.MappingNode, path: str, *, ours: Kind | None = None
    ) -> None:
        known = kinds.writable(kinds.descriptor_of(message))
        for key, key_node, value in self._pairs(node, path):
            if ours is not None and key in _OWN:
                continue
            if key not in known:
                self._unknown(kinds.descriptor_of(message), known, key, key_node, ours=ours)
                continue
            descriptor, inner = known[key], _join(path, key)
            self._places[inner] = text_place(self._file, value)
            rival = self._rival(message, descriptor)
            if rival:
                self._fault(key_node, f"{inner}: either this or {rival}, not both")
            elif _tag(value) == _NULL and not kinds.is_value(descriptor):
                self._fault(value, f"{inner}: is empty; leave the line out")
            else:
                self._set(message, descriptor, value, inner)
        for name, descriptor in known.items():
            if kinds.required(descriptor) and _join(path, name) not in self._places:
                self._fault(node, f"{_join(path, name)}: is missing and required")
        self._require_choices(message, node, path)

    def _require_choices(self, message: ProtoMessage, node: yaml.MappingNode, path: str) -> None:
        for oneof in filter(kinds.must_choose, kinds.choices(kinds.descriptor_of(message))):
            names = [field.name for field in oneof.fields]
            if not any(_join(path, name) in self._places for name in names):
                within = f"{path}: " if path else ""
                self._fault(node, f"{within}one of {', '.join(names)} is missing")

    def _set(
        self, message: ProtoMessage, descriptor: FieldDescriptor, node: yaml.Node, path: str
    ) -> None:
        if kinds.is_map(descriptor):
            self._set_map(message, descriptor, node, path)
        elif kinds.repeated(descriptor):
            self._set_list(message, descriptor, node, path)
        elif descriptor.message_type is not None:
            self._set_message(getattr(message, descriptor.name), descriptor, node, path)
        else:
            value = self._scalar(descriptor, node, path)
            if value is not None:
                setattr(message, descriptor.name, value)

    def _set_map(
        self, message: ProtoMessage, descriptor: FieldDescriptor, node: yaml.Node, path: str
    ) -> None:
        if not isinstance(node, yaml.MappingNode):
            self._fault(node, f"{path}: expected `key: value` lines, {_seen(node)}")
            return
        target = getattr(message, descriptor.name)
        for key, _, value in self._pairs(node, path):
            inner = f'{path}["{key}"]'
            self._places[inner] = place_of(self._file, value)
            ParseDict(self._plain(value, inner, 0), target[key])

    def _set_list(
        self, message: ProtoMessage, descriptor: FieldDescriptor, node: yaml.Node, path: str
    ) -> None:
        if not isinstance(node, yaml.SequenceNode):
            self._fault(
                node, f"{path}: expected a list (lines that begin with `- `), {_seen(node)}"
            )
            return
        target = getattr(message, descriptor.name)
        for index, item in enumerate(node.value):
            inner = f"{path}[{index}]"
            self._places[inner] = text_place(self._file, item)
            if descriptor.message_type is not None:
                self._set_message(target.add(), descriptor, item, inner)
            elif (value := self._scalar(descriptor, item, inner)) is not None:
                target.append(value)

    def _set_message(
        self, target: ProtoMessage, descriptor: FieldDescriptor, node: yaml.Node, path: str
    ) -> None:
        try:
            match descriptor.message_type.full_name:
                case kinds.DURATION:
                    span = parse_duration(_raw(node), signed=kinds.signed(descriptor))
                    target.FromTimedelta(span)  # type: ignore[attr-defined]
                    target.SetInParent()
                case kinds.TIMESTAMP:
                    target.FromDatetime(parse_time(_raw(node)))  # type: ignore[attr-defined]
                    target.SetInParent()
                case kinds.VALUE:
                    ParseDict(self._plain(node, path, 0), target)
                case _ if isinstance(node, yaml.MappingNode):
                    target.SetInParent()
                    self._fill(target, node, path)
                case _:
                    names = ", ".join(kinds.writable(descriptor.message_type))
                    form = f"fields ({names})" if names else "`{}`, as it has no fields"
                    self._fault(node, f"{path}: expected {form}, {_seen(node)}")
        except ValueError as error:
            self._fault(node, f"{path}: {error}")

    def _scalar(self, descriptor: FieldDescriptor, node: yaml.Node, path: str) -> Any:
        if isinstance(node, yaml.MappingNode) and kinds.takes_file(descriptor):
            return self._from_file(node, path)
        match descriptor.type:
            case FieldDescriptor.TYPE_STRING:
                return self._string(descriptor, node, path)
            case FieldDescriptor.TYPE_ENUM:
                return self._enum(descriptor, node, path)
            case FieldDescriptor.TYPE_BOOL:
                if _tag(node) == _TRUTH:
                    return yaml.SafeLoader.bool_values[_raw(node).lower()]
                self._fault(node, f"{path}: expected true or false, {_seen(node)}")
            case FieldDescriptor.TYPE_DOUBLE:
                if (number := _number_of(node)) is not None:
                    return float(number)
                self._fault(node, f"{path}: expected a number, {_seen(node)}")
            case _:
                if isinstance(number := _number_of(node), int):
                    return number
                self._fault(node, f"{path}: expected a whole number, {_seen(node)}")
        return None

    def _string(self, descriptor: FieldDescriptor, node: yaml.Node, path: str) -> str | None:
        text = self._text(node, path)
        collection = kinds.REFERENCES.get(descriptor.full_name)
        if collection is None or not text or text.startswith("workspaces/"):
            return text
        return f"workspaces/{self._workspace}/{collection}/{text}"

    def _enum(self, descriptor: FieldDescriptor, node: yaml.Node, path: str) -> int | None:
        names = kinds.enum_names(descriptor)
        text = self._text(node, path)
        if text is None:
            return None
        if text.lower() in names:
            return names[text.lower()]
        known = ", ".join(names)
        self._fault(node, f"{path}: {text!r} is none{_guess(text, names)}; expected {known}")
        return None

    def _from_file(self, node: yaml.MappingNode, path: str) -> str | None:
        pairs = {key: value for key, _, value in self._pairs(node, path)}
        if set(pairs) != {"file"}:
            self._fault(node, f"{path}: expected text, or `file: NAME` of a file beside this one")
            return None
        name = self._text(pairs["file"], path)
        if name is None:
            return None
        named = self._file.parent / name
        self._places[path] = Place(named, 1, 1)
        return read_text(named, place_of(self._file, pairs["file"]), self._faults)

    def _text(self, node: yaml.Node, path: str) -> str | None:
        place = place_of(self._file, node)
        if not isinstance(node, yaml.ScalarNode):
            self._fault(node, f"{path}: expected text, {_seen(node)}")
            return None
        if _tag(node) != _TEXT:
            seen = _SAID.get(_tag(node), "something else")
            raw = node.value
            self._fault(
                node, f"{path}: expected text; YAML reads {raw} as {seen}: put it in quotes"
            )
            return None
        return fill_in(node.value, self._variables, place, self._faults)

    def _plain(self, node: yaml.Node, path: str, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            self._fault(node, f"{path}: nested more than {_DEPTH_MAX} deep")
            return None
        if isinstance(node, yaml.MappingNode):
            return {
                key: self._plain(value, path, depth + 1)
                for key, _, value in self._pairs(node, path)
            }
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, path, depth + 1) for item in node.value]
        match _tag(node):
            case tag if tag == _NULL:
                return None
            case tag if tag == _TRUTH:
                return yaml.SafeLoader.bool_values[_raw(node).lower()]
            case _ if (number := _number_of(node)) is not None:
                return float(number)
            case _:
                return fill_in(
                    _raw(node), self._variables, place_of(self._file, node), self._faults
                )

    def _pairs(
        self, node: yaml.MappingNode, path: str
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        seen: set[str] = set()
        for key_node, value in node.value:
            key = _raw(key_node)
            if key in seen:
                self._fault(key_node, f"{_join(path, key)}: is there twice")
            else:
                seen.add(key)
                yield key, key_node, value

    def _rival(self, message: ProtoMessage, descriptor: FieldDescriptor) -> str:
        oneof = descriptor.containing_oneof
        if oneof is None or len(oneof.fields) == 1:
            return ""
        taken = message.WhichOneof(oneof.name)
        return taken if taken is not None and taken != descriptor.name else ""

    def _unknown(
        self,
        descriptor: Descriptor,
        known: Mapping[str, FieldDescriptor],
        key: str,
        node: yaml.Node,
        *,
        ours: Kind | None,
    ) -> None:
        if key in descriptor.fields_by_name:
            why = "is set by Beckon, not by a file"
            self._fault(node, f"{key}: {why}" + ("; `id` names it" if key == "name" else ""))
            return
        names = [*(_OWN if ours is not None else ()), *known]
        if ours is not None and not ours.states:
            names.remove("state")
        if ours is not None and ours.singleton:
            names.remove("id")
        self._fault(node, f"{key}: no such field{_guess(key, names)}; known: {', '.join(names)}")

    def _validate(self, document: Document) -> None:
        for violation in violations_of(document.message):
            text = violation.description
            for pattern, meaning in _PATTERNS.items():
                text = meaning if f"`{pattern}`" in text else text
            self._faults.add(document.place_of(violation.field), f"{violation.field}: {text}")

    def _fault(self, node: yaml.Node, text: str) -> None:
        self._faults.add(place_of(self._file, node), text)


def _refuse_twins(found: Iterable[Document], faults: Faults) -> None:
    first: dict[tuple[str, str], Document] = {}
    for document in found:
        other = first.setdefault((document.kind.name, document.id), document)
        if other is not document:
            faults.add(document.place, f"{document.title} is also at {other.place}")


def _guess(text: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(text, list(known), n=1, cutoff=0.6)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _tag(node: yaml.Node) -> str:
    return str(node.tag)


def _raw(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _number_of(node: yaml.Node) -> float | None:
    """Return a number as YAML reads it, but for `1:30`, which it takes for ninety."""
    if not isinstance(node, yaml.ScalarNode) or ":" in node.value:
        return None
    match _tag(node):
        case tag if tag == _WHOLE:
            whole: int = _CONSTRUCTOR.construct_yaml_int(node)
            return whole
        case tag if tag == _NUMBER:
            number: float = _CONSTRUCTOR.construct_yaml_float(node)
            return number
        case _:
            # YAML 1.1 takes `1e6`, which every other language reads, for a text.
            plain = node.style is None and _EXPONENT.fullmatch(node.value)
            return float(node.value) if plain else None


def _seen(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "this is fields"
    if isinstance(node, yaml.SequenceNode):
        return "this is a list"
    return f"this is {node.value!r}"
