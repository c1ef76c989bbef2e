"""Typed, directed edges between people, under the ids that were used."""

from datetime import datetime
from typing import NamedTuple

BLOCKS = "blocks"
"""Who blocks or is blocked is left out of fan-outs about the other."""


class Edge(NamedTuple):
    """Who does what to whom, within a workspace."""

    from_id: str
    kind: str
    to_id: str


class EdgeRow(NamedTuple):
    """An edge that is kept; several ids of one person may each have one."""

    from_id: str
    to_id: str
    attributes: str
    """A JSON object."""
    update_time: datetime


class Put(NamedTuple):
    """An edge to be written."""

    edge: Edge
    attributes: str
    """A JSON object."""


class EdgeWrite(NamedTuple):
    """What is written of an edge, and what it counts as."""

    put: Put
    update_time: datetime
    is_new: bool
    is_other: bool
    """It was there with other attributes."""


class Related(NamedTuple):
    """Somebody at the other end of an edge."""

    kind: str
    other_id: str
    """The id that the walk goes by: the first of hers that has such an edge."""
    profile_id: str
    """Under the name that stays."""
    attributes: str
    create_time: datetime
    update_time: datetime
    passes: bool
    """Whether she was asked for; else only the walk has come by."""


class Walk(NamedTuple):
    """Which edges of a person to follow."""

    incoming: bool = False
    kind: str = ""
    """Empty: all."""
    mutual: bool = False
    include_blocked: bool = True
