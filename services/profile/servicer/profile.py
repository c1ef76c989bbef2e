"""What callers may ask about people, and change."""

from collections.abc import AsyncIterator, Collection, Sequence
from uuid import UUID

from beckon.profile.v1 import profile_service_pb2 as pb
from beckon.profile.v1 import profile_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import invalid_field
from mesh.names import parse_name, workspace_of
from mesh.pages import OrderKey, PageTokens, page_size
from mesh.replies import answer_once
from services.profile.convert import patches
from services.profile.convert import profiles as convert
from services.profile.convert.listings import listing, place, place_key
from services.profile.convert.moments import micros
from services.profile.convert.refusals import error_of, not_found
from services.profile.convert.tokens import check_current
from services.profile.model import PersonKey, Refused
from services.profile.model.patches import Erased, Patched, Stale
from services.profile.model.persons import Person
from services.profile.rules.devices import reach
from services.profile.rules.facts import replace
from services.profile.rules.identity import rewrite
from services.profile.rules.patching import Patch, apply_patches, etag_of
from services.profile.servicer.explaining import Explainer
from services.profile.servicer.exporting import Exporter
from services.profile.store import NEWEST, HistoryKey, Profiles
from services.profile.store.profiles import Writing


class ProfileServicer(rpc.ProfileServiceServicer):
    def __init__(
        self,
        store: Profiles,
        clock: Clock,
        tokens: PageTokens,
        exporter: Exporter,
        explainer: Explainer,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._exporter = exporter
        self._explainer = explainer

    async def GetProfile(self, request: pb.GetProfileRequest, context: object) -> pb.Profile:
        key = parse_name(request.name, "profiles")
        return (await self._get([key], [request.consistency_token], "consistency_token"))[0]

    async def BatchGetProfiles(
        self, request: pb.BatchGetProfilesRequest, context: object
    ) -> pb.BatchGetProfilesResponse:
        workspace = workspace_of(request.parent, field="parent")
        keys = [parse_name(name, "profiles", field="names") for name in request.names]
        if any(key[0] != workspace for key in keys):
            raise invalid_field("names", f"must be of {request.parent}")
        found = await self._get(keys, request.consistency_tokens, "consistency_tokens")
        return pb.BatchGetProfilesResponse(profiles=found)

    async def ListProfiles(
        self, request: pb.ListProfilesRequest, context: object
    ) -> pb.ListProfilesResponse:
        size, token = page_size(request.page_size), self._tokens.read(request)
        wanted = listing(request, micros(self._clock.now()))
        after = place(wanted, token) if token else None
        found = await self._store.page(wanted, after, limit=size + 1)
        response = pb.ListProfilesResponse(profiles=await self._shown(found[:size]))
        if len(found) > size:
            key = place_key(wanted, found[size - 1])
            response.next_page_token = self._tokens.write(request, key)
        return response

    async def UpdateProfile(self, request: pb.UpdateProfileRequest, context: object) -> pb.Profile:
        key = parse_name(request.profile.name, "profiles", field="profile.name")

        async def work(writing: Writing) -> Person:
            return await _update(writing, request, key)

        person = await self._store.run(work, self._clock.now())
        return (await self._shown([person]))[0]

    async def PatchProfiles(
        self, request: pb.PatchProfilesRequest, context: object
    ) -> pb.PatchProfilesResponse:
        workspace, wanted = patches.read(request)

        async def work(writing: Writing) -> pb.PatchProfilesResponse:
            async def effect() -> pb.PatchProfilesResponse:
                patched = await _patch(
                    writing, workspace, wanted, validate_only=request.validate_only
                )
                return patches.response(wanted, patched)

            if request.validate_only:
                return await effect()
            return await answer_once(writing.db, request, pb.PatchProfilesResponse, effect)

        return await self._store.run(work, self._clock.now())

    async def ListProfileEvents(
        self, request: pb.ListProfileEventsRequest, context: object
    ) -> pb.ListProfileEventsResponse:
        key = parse_name(request.parent, "profiles", field="parent")
        if "\0" in request.type:
            raise invalid_field("type", "must be snake_case")
        size, token = page_size(request.page_size), self._tokens.read(request)
        before = _history_key(token) if token else NEWEST
        found = await self._store.history(key, request.type, before=before, limit=size + 1)
        response = pb.ListProfileEventsResponse(events=map(convert.event, found[:size]))
        if len(found) > size:
            last = found[size - 1]
            key_of_last = (last.receive_us, last.log_index, last.event_uid.bytes)
            response.next_page_token = self._tokens.write(request, key_of_last)
        return response

    async def ExplainProfile(
        self, request: pb.ExplainProfileRequest, context: object
    ) -> pb.ProfileExplanation:
        async def show(person: Person) -> pb.Profile:
            return (await self._shown([person]))[0]

        return await self._explainer.explain(parse_name(request.name, "profiles"), show)

    async def ExportProfile(
        self, request: pb.ExportProfileRequest, context: object
    ) -> AsyncIterator[pb.ExportProfileResponse]:
        async for one in self._exporter.export(request.name, self):
            yield one

    async def _get(
        self, keys: Sequence[PersonKey], tokens: Collection[str], field: str
    ) -> list[pb.Profile]:
        known = await self._store.get(set(keys))
        check_current({key: known.get(key) for key in keys}, tokens, field=field)
        for key in keys:
            if key not in known:
                raise not_found(key)
        return await self._shown([known[key] for key in keys])

    async def _shown(self, people: Sequence[Person]) -> list[pb.Profile]:
        devices = await self._store.devices({person.key for person in people})
        now = self._clock.now()
        traits = await self._store.traits(people, now)
        shown: list[pb.Profile] = []
        for person in people:
            facts, theirs = person.profile.facts, devices.get(person.key, [])
            channels = reach(facts.email, facts.phone, theirs, micros(now))
            values = traits.get(person.key, person.profile.traits)
            shown.append(convert.profile(person, values, channels))
        return shown


async def _update(writing: Writing, request: pb.UpdateProfileRequest, key: PersonKey) -> Person:
    workspace, patch = key[0], request.profile
    types = await writing.types(workspace, patch.attributes.fields)
    known = (await writing.people([key])).get(key)
    if known is None and not request.allow_missing:
        raise not_found(key)
    person = known or Person(key)
    before = person.profile.facts
    wanted = convert.revised(before, patch, request.update_mask)
    facts = replace(before, wanted, at_us=micros(writing.now), types=types)
    if isinstance(facts, Refused):
        raise error_of(facts, key)
    if known is not None and facts is before:
        # Also the repeat of an update whose answer was lost: its etag is old by now.
        return known
    if patch.etag and (known is None or patch.etag != etag_of(known)):
        raise error_of(Stale(), key)
    if known is None and (erased := await writing.erased([key])):
        raise error_of(Erased(erased[key]), key)
    changed = rewrite(person, key[1], facts)
    await writing.write([(known, changed)], workspace, types)
    since = writing.now if known is None else known.create_time
    return changed._replace(create_time=since, update_time=writing.now)


async def _patch(
    writing: Writing, workspace: str, wanted: Sequence[Patch], *, validate_only: bool
) -> Patched:
    types = await writing.types(workspace, patches.keys(wanted))
    asked = {one.key for one in wanted if not isinstance(one.operations, Refused)}
    people = await writing.people(asked, dated=False)
    erased = await writing.erased([key for key in asked if key not in people])
    patched = apply_patches(wanted, people, erased=erased, types=types, at_us=micros(writing.now))
    if not validate_only:
        await writing.write(patched.changes.values(), workspace, types)
    return patched


def _history_key(token: OrderKey) -> HistoryKey:
    match token:
        case (int(receive_us), int(log_index), bytes(event_uid)):
            return receive_us, log_index, UUID(bytes=event_uid)
        case _:
            raise invalid_field("page_token", "is not one of ours", reason="page_token")
