"""Plays campaigns on a virtual clock, by the very rules that the services judge with.

Nothing is served, stored or awaited: people, passages, places under caps and what goes out are
held in memory, and time jumps from one moment at which something is due to the next.
"""

from simulator.engine import Engine
from simulator.records import Kept, Message
from simulator.workspace import Workspace

__all__ = ["Engine", "Kept", "Message", "Workspace"]
