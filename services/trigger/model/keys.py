"""Whose passages, through which campaign."""

from typing import NamedTuple


class Key(NamedTuple):
    """Whose passages through which campaign."""

    workspace: str
    profile: str
    campaign: str
