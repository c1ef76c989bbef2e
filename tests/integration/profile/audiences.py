"""Streams of people without their socket."""

from mesh.clock import Clock
from mesh.pages import PageTokens
from mesh.postgres import Database
from services.profile.servicer.audiences import AudienceStreams
from services.profile.store.audiences import Audiences
from services.profile.store.definitions import Definitions
from services.profile.store.related import RelatedPeople
from services.profile.store.segments import load_segments
from services.profile.store.traits import load_traits


def an_audience_stream(database: Database, clock: Clock) -> AudienceStreams:
    """Return the streams on a database."""
    definitions = Definitions(load_traits, load_segments)
    store = Audiences(database, definitions, RelatedPeople(database))
    return AudienceStreams(store, clock, PageTokens(b"secret"))
