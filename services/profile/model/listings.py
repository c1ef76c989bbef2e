"""Which people are listed, and from where on."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple


class Place(NamedTuple):
    """Where a page of people begins: after this value and, of equal ones, this id."""

    value: str | int | datetime
    profile_id: str


class Listing(NamedTuple):
    """Which people of a workspace, in which order."""

    workspace: str
    column: str = "profile_id"
    """Also orders where it is not the id; equal ones follow by id."""
    descending: bool = False
    condition: str = "true"
    """SQL over `profiles AS p`, with its parameters from `$2` on."""
    parameters: Sequence[object] = ()
    source: str = ""
    """What the caller asked: the filter, or else the order."""
