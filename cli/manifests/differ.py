"""What separates two resources: the paths of the fields that differ."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message as ProtoMessage

from cli.manifests.write import as_plain


def changed_paths(current: ProtoMessage, wanted: ProtoMessage) -> list[str]:
    """Return which fields of a manifest differ, the deepest that can be named."""
    return _differences(as_plain(current), as_plain(wanted), "")


def top_level(paths: list[str]) -> list[str]:
    """Return the fields of an update mask that cover the paths."""
    return list(dict.fromkeys(path.partition(".")[0].partition("[")[0] for path in paths))


def _differences(current: Any, wanted: Any, path: str) -> list[str]:
    if current == wanted:
        return []
    if isinstance(current, Mapping) and isinstance(wanted, Mapping):
        keys = dict.fromkeys([*wanted, *current])
        found: list[str] = []
        for key in keys:
            inner = f"{path}.{key}" if path else key
            found += _differences(current.get(key), wanted.get(key), inner)
        return found
    return [path]
