"""Reads YAML files into nodes that know their places."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from cli.manifests.places import Faults, Place
from cli.problems import usage

_SUFFIXES = {".yaml", ".yml"}
# A campaign is a page; a megabyte is somebody's data by mistake.
_BYTES_MAX = 1_000_000
_VARIABLE = re.compile(r"\$\{([a-z][a-z0-9_]*)(?::-([^}]*))?\}")


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files meant: files as given, folders with all YAML below them by name.

    Raises:
        Problem: Something is not there, or a folder holds no YAML.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES)
            if not inside:
                raise usage(f"{path} holds no .yaml file")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise usage(f"{path} does not exist")
    return list(dict.fromkeys(found))


def documents(file: Path, faults: Faults) -> Iterator[yaml.MappingNode]:
    """Yield the documents of a file; what is no YAML, or no mapping, is a fault."""
    text = read_text(file, Place(file, 1, 1), faults)
    if text is None:
        return
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = " ".join(filter(None, (error.context, error.problem)))
        faults.add(Place(file, line, column), f"not YAML: {said}")
        return
    except yaml.YAMLError as error:
        faults.add(Place(file, 1, 1), f"not YAML: {error}")
        return
    for node in nodes:
        if isinstance(node, yaml.MappingNode):
            yield node
        # An empty document, between two `---`, is a habit and no fault.
        elif not (isinstance(node, yaml.ScalarNode) and not node.value):
            faults.add(place_of(file, node), "expected fields, such as `kind: Campaign`")


def read_text(file: Path, asked: Place, faults: Faults) -> str | None:
    """Return a file's text; None, and a fault where it was asked for, if it has none."""
    try:
        if file.stat().st_size > _BYTES_MAX:
            faults.add(asked, f"{file} is larger than {_BYTES_MAX:,} bytes")
            return None
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        faults.add(asked, f"{file} is not UTF-8: {error.reason} at byte {error.start}")
    except OSError as error:
        faults.add(asked, f"cannot read {file}: {error.strerror}")
    return None


def place_of(file: Path, node: yaml.Node) -> Place:
    """Return where a node begins."""
    return Place(file, node.start_mark.line + 1, node.start_mark.column + 1)


def text_place(file: Path, node: yaml.Node) -> Place:
    """Return where the text of a scalar begins: that of a block, on the line after its `|`."""
    if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}:
        return Place(file, node.start_mark.line + 2, 1)
    place = place_of(file, node)
    quoted = isinstance(node, yaml.ScalarNode) and node.style in {"'", '"'}
    return place._replace(column=place.column + 1) if quoted else place


def fill_in(text: str, variables: Mapping[str, str], place: Place, faults: Faults) -> str:
    """Return text with `${name}` and `${name:-otherwise}` replaced."""

    def value(match: re.Match[str]) -> str:
        name, otherwise = match.groups()
        if name in variables:
            return variables[name]
        if otherwise is None:
            faults.add(place, f"${{{name}}} has no value; give it with --set {name}=…")
        return otherwise or ""

    return _VARIABLE.sub(value, text)
