"""Says where what is known of a person comes from."""

from collections.abc import Awaitable, Callable

from beckon.profile.v1 import profile_service_pb2 as pb

from services.profile.convert import explanations as convert
from services.profile.convert.identities import merge
from services.profile.convert.refusals import not_found
from services.profile.model import PersonKey
from services.profile.model.persons import Person
from services.profile.rules.identity import contributions_of, sources
from services.profile.store.explanations import Explanations

Show = Callable[[Person], Awaitable[pb.Profile]]


class Explainer:
    """Explains people."""

    def __init__(self, store: Explanations) -> None:
        """Take who knows."""
        self._store = store

    async def explain(self, key: PersonKey, show: Show) -> pb.ProfileExplanation:
        """Return where what is known of the person comes from; `show` says how she is shown.

        Raises:
            NotFound: There is no such profile.
        """
        found = await self._store.explain(key)
        if found is None:
            raise not_found(key)
        contributions = contributions_of(found.person)
        return pb.ProfileExplanation(
            profile=await show(found.person),
            members=convert.members(contributions),
            sources=convert.sources(sources(contributions)),
            merges=map(merge, found.edges),
            memberships=convert.memberships(found.person.key, found.memberships),
        )
