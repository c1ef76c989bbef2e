"""What every turn needs to know of its workspaces, held in memory: traits, segments, watches."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from mesh.postgres import Connection
from services.profile.model.segments import Segment
from services.profile.model.traits import Trait
from services.profile.store.watches import load_watches

TraitLoader = Callable[[Connection], Awaitable[Mapping[str, tuple[Trait, ...]]]]
SegmentLoader = Callable[[Connection], Awaitable[Mapping[str, tuple[Segment, ...]]]]


@dataclass(frozen=True, slots=True)
class Edition:
    """Definitions as they were at one moment, compiled, by workspace."""

    versions: Mapping[str, int]
    traits: Mapping[str, tuple[Trait, ...]]
    segments: Mapping[str, tuple[Segment, ...]]
    resting: dict[int, int] = field(default_factory=dict)
    """Segments, by key, whose filters took too long, and until when turns leave them alone."""
    watched: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Attributes of whose changes events tell."""

    @property
    def has_erasures(self) -> bool:
        """Whether anybody was ever erased: else nobody needs to be looked for."""
        return self.versions.get("erasures", 0) > 0


class Definitions:
    """Hands out the edition of the moment; a change is seen by every turn begun after it."""

    def __init__(self, load_traits: TraitLoader, load_segments: SegmentLoader) -> None:
        """Take what reads and compiles all of one kind."""
        self._load_traits = load_traits
        self._load_segments = load_segments
        self._edition = Edition({}, {}, {})

    async def current(self, db: Connection) -> Edition:
        """Return the definitions as this transaction sees them, at the cost of one small query."""
        rows = await db.fetch("SELECT kind, version FROM catalogues")
        versions = {row[0]: row[1] for row in rows}
        known = self._edition
        if versions == known.versions:
            return known
        same = {kind for kind, version in versions.items() if known.versions.get(kind) == version}
        traits = known.traits if "traits" in same else await self._load_traits(db)
        segments = known.segments if "segments" in same else await self._load_segments(db)
        watched = known.watched if "watches" in same else await load_watches(db)
        self._edition = Edition(versions, traits, segments, known.resting, watched)
        return self._edition


async def announce(db: Connection, kind: str) -> None:
    """Say, in the transaction of the change, that definitions of this kind have changed."""
    await db.execute("UPDATE catalogues SET version = version + 1 WHERE kind = $1", kind)
