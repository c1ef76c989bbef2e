"""Reads the nodes of a scenario file by its shape, remembering every place."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cli.manifests.places import Faults, Place
from cli.manifests.read import place_of
from cli.scenarios.shape import (
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

_TAG = "tag:yaml.org,2002:"
_NULL, _WHOLE, _NUMBER, _TRUTH = f"{_TAG}null", f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool"


@dataclass(frozen=True, slots=True)
class Said:
    """Something that a file says, and where."""

    value: Any
    place: Place
    node: yaml.Node


@dataclass(slots=True)
class Lines:
    """Fields of a mapping, read."""

    place: Place
    of: dict[str, Said] = field(default_factory=dict)
    chosen: str = ""
    """Of `OneOf`: the field that says what it is."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return what a field says."""
        said = self.of.get(name)
        return default if said is None else said.value

    def place_of(self, name: str) -> Place:
        """Return where a field is; of one that is not there, where it would be."""
        said = self.of.get(name)
        return self.place if said is None else said.place


class Reader:
    """Reads one file."""

    def __init__(self, file: Path, faults: Faults) -> None:
        """Take down what is wrong in `faults`."""
        self._file = file
        self._faults = faults

    def fields(self, node: yaml.Node, shape: Fields, path: str = "") -> Lines:
        """Read a mapping."""
        lines = Lines(place_of(self._file, node))
        if self._mapping(node, path) is None:
            return lines
        self._fill(lines, node, shape.fields, path)
        for name in shape.required:
            if name not in lines.of:
                self.fault(node, f"{_join(path, name)}: is missing and required")
        return lines

    def fault(self, node: yaml.Node, text: str) -> None:
        """Take down what is wrong at a node."""
        self._faults.add(place_of(self._file, node), text)

    def _fill(self, lines: Lines, node: yaml.Node, shapes: Mapping[str, Shape], path: str) -> None:
        for key, key_node, value in self._pairs(node, path):
            shape = shapes.get(key)
            if shape is None:
                known = ", ".join(shapes)
                guess = _guess(key, shapes)
                self.fault(key_node, f"{_join(path, key)}: no such field{guess}; known: {known}")
                continue
            read = self._read(value, shape, _join(path, key))
            lines.of[key] = Said(read, place_of(self._file, value), value)

    def _one_of(self, node: yaml.Node, shape: OneOf, path: str) -> Lines:
        lines = Lines(place_of(self._file, node))
        if self._mapping(node, path) is None:
            return lines
        keys = [key for key, _, _ in self._pairs(node, path)]
        chosen = [key for key in keys if key in shape.choices]
        if len(chosen) != 1:
            known = ", ".join(shape.choices)
            said = f"says {' and '.join(chosen)}" if chosen else f"says none{_slip(keys, shape)}"
            self.fault(node, f"{path}: {said}; expected exactly one of {known}")
            return lines
        choice = shape.choices[chosen[0]]
        lines.chosen = chosen[0]
        self._fill(lines, node, {**shape.common, **choice.fields}, path)
        for name in choice.required:
            if name not in lines.of:
                self.fault(node, f"{_join(path, name)}: is missing and required")
        return lines

    def _read(self, node: yaml.Node, shape: Shape, path: str) -> Any:
        match shape:
            case Several(_, of, single):
                return self._several(node, of, path, single=single)
            case ByName():
                return self._by_name(node, shape, path)
            case Manifest():
                return self._mapping(node, path)
            case Anything():
                return self._anything(node, path)
            case Fields():
                return self.fields(node, shape, path)
            case OneOf():
                return self._one_of(node, shape, path)
            case Text() | Time() | Choice() | Number():
                return self._single(node, shape, path)

    def _single(self, node: yaml.Node, shape: Text | Time | Choice | Number, path: str) -> Any:
        match shape:
            case Text():
                return self._text(node, path, shape.pattern)
            case Time():
                return self._scalar(node, path)
            case Choice(_, words):
                return self._choice(node, words, path)
            case Number():
                return self._number(node, path)

    def _several(self, node: yaml.Node, of: Shape, path: str, *, single: bool) -> list[Said]:
        if isinstance(node, yaml.SequenceNode):
            return [
                Said(self._read(one, of, f"{path}[{index}]"), place_of(self._file, one), one)
                for index, one in enumerate(node.value)
            ]
        if single:
            return [Said(self._read(node, of, path), place_of(self._file, node), node)]
        self.fault(node, f"{path}: expected a list (lines that begin with `- `)")
        return []

    def _by_name(self, node: yaml.Node, shape: ByName, path: str) -> dict[str, Said]:
        if self._mapping(node, path) is None:
            return {}
        found: dict[str, Said] = {}
        for key, key_node, value in self._pairs(node, path):
            inner = _join(path, key)
            if shape.pattern and re.fullmatch(shape.pattern, key) is None:
                self.fault(key_node, f"{inner}: must match `{shape.pattern}`")
            if isinstance(shape.of, Fields) and _empty(value):
                # A profile of whom nothing is to be said.
                read: Any = Lines(place_of(self._file, value))
            else:
                read = self._read(value, shape.of, inner)
            found[key] = Said(read, place_of(self._file, value), value)
        return found

    def _mapping(self, node: yaml.Node, path: str) -> yaml.MappingNode | None:
        if isinstance(node, yaml.MappingNode):
            return node
        self.fault(node, f"{path or 'the document'}: expected fields (`name: value` lines)")
        return None

    def _scalar(self, node: yaml.Node, path: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag != _NULL:
            return str(node.value)
        self.fault(node, f"{path}: expected a single value")
        return ""

    def _text(self, node: yaml.Node, path: str, pattern: str) -> str:
        text = self._scalar(node, path)
        if text and pattern and re.fullmatch(pattern, text) is None:
            self.fault(node, f"{path}: {text!r} must match `{pattern}`")
        return text

    def _choice(self, node: yaml.Node, words: tuple[str, ...], path: str) -> str:
        text = self._scalar(node, path)
        if text and text not in words:
            known = ", ".join(words)
            self.fault(node, f"{path}: {text!r} is none{_guess(text, words)}; expected {known}")
            return ""
        return text

    def _number(self, node: yaml.Node, path: str) -> float:
        if isinstance(node, yaml.ScalarNode) and node.tag in {_WHOLE, _NUMBER}:
            return float(node.value.replace("_", ""))
        self.fault(node, f"{path}: expected a number")
        return 0.0

    def _anything(self, node: yaml.Node, path: str) -> dict[str, Any]:
        if self._mapping(node, path) is None:
            return {}
        plain: dict[str, Any] = self._plain(node, path)
        return plain

    def _plain(self, node: yaml.Node, path: str) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {
                key: self._plain(value, _join(path, key))
                for key, _, value in self._pairs(node, path)
            }
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(one, f"{path}[{index}]") for index, one in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        match node.tag:
            case tag if tag == _NULL:
                return None
            case tag if tag == _TRUTH:
                return yaml.SafeLoader.bool_values[node.value.lower()]
            case tag if tag == _WHOLE:
                return int(node.value.replace("_", ""), 0)
            case tag if tag == _NUMBER:
                return float(node.value.replace("_", ""))
            case _:
                return node.value

    def _pairs(self, node: yaml.Node, path: str) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
        seen: set[str] = set()
        assert isinstance(node, yaml.MappingNode)
        for key_node, value in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if key in seen:
                self.fault(key_node, f"{_join(path, key)}: is there twice")
                continue
            seen.add(key)
            yield key, key_node, value


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _guess(text: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(text, list(known), n=1, cutoff=0.6)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _slip(keys: Iterable[str], shape: OneOf) -> str:
    guesses = (_guess(key, shape.choices) for key in keys if key not in shape.common)
    return next(filter(None, guesses), "")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
