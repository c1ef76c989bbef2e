"""What callers may ask about people."""

from collections.abc import Sequence
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import profile_service_pb2 as pb
from beckon.profile.v1 import profile_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import Aborted, NotFound, invalid_field
from mesh.names import format_name, parse_name, workspace_of
from mesh.pages import OrderKey, PageTokens, page_size
from services.profile import rules
from services.profile.convert import profiles as convert
from services.profile.convert.attributes import refusal
from services.profile.convert.moments import micros
from services.profile.model import Facts, Known, PersonKey, Refused
from services.profile.store import NEWEST, HistoryKey, Profiles


class ProfileServicer(rpc.ProfileServiceServicer):
    def __init__(self, store: Profiles, clock: Clock, tokens: PageTokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def GetProfile(self, request: pb.GetProfileRequest, context: object) -> pb.Profile:
        key = parse_name(request.name, "profiles")
        return convert.profile(_all_of([key], await self._store.get([key]))[0])

    async def BatchGetProfiles(
        self, request: pb.BatchGetProfilesRequest, context: object
    ) -> pb.BatchGetProfilesResponse:
        workspace = workspace_of(request.parent, field="parent")
        keys = [parse_name(name, "profiles", field="names") for name in request.names]
        if any(key[0] != workspace for key in keys):
            raise invalid_field("names", f"must be of {request.parent}")
        found = _all_of(keys, await self._store.get(set(keys)))
        return pb.BatchGetProfilesResponse(profiles=map(convert.profile, found))

    async def ListProfiles(
        self, request: pb.ListProfilesRequest, context: object
    ) -> pb.ListProfilesResponse:
        workspace, size = workspace_of(request.parent, field="parent"), page_size(request.page_size)
        key = self._tokens.read(request)
        after = str(key[0]) if key else ""
        found = await self._store.list_after(workspace, after, limit=size + 1)
        response = pb.ListProfilesResponse(profiles=map(convert.profile, found[:size]))
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].key[1],))
        return response

    async def UpdateProfile(self, request: pb.UpdateProfileRequest, context: object) -> pb.Profile:
        key = parse_name(request.profile.name, "profiles", field="profile.name")
        now = self._clock.now()

        def revise(known: Known | None) -> Facts | Known:
            return _revise(request, key, known, micros(now))

        return convert.profile(await self._store.change(key, revise, now))

    async def ListProfileEvents(
        self, request: pb.ListProfileEventsRequest, context: object
    ) -> pb.ListProfileEventsResponse:
        key = parse_name(request.parent, "profiles", field="parent")
        size, token = page_size(request.page_size), self._tokens.read(request)
        before = _history_key(token) if token else NEWEST
        found = await self._store.history(key, request.type, before=before, limit=size + 1)
        response = pb.ListProfileEventsResponse(events=map(convert.event, found[:size]))
        if len(found) > size:
            last = found[size - 1]
            place = (last.receive_us, last.log_index, last.event_uid.bytes)
            response.next_page_token = self._tokens.write(request, place)
        return response


def _revise(
    request: pb.UpdateProfileRequest, key: PersonKey, known: Known | None, at_us: int
) -> Facts | Known:
    if known is None and not request.allow_missing:
        raise _not_found(key)
    before = known.profile.facts if known is not None else Facts()
    wanted = convert.revised(before, request.profile, request.update_mask)
    facts = rules.replace(before, wanted, at_us=at_us, types=rules.Types())
    if isinstance(facts, Refused):
        raise refusal(facts)
    if known is not None and facts == before:
        # Also the repeat of an update whose answer was lost: its etag is old by now.
        return known
    _check_etag(request.profile.etag, key, known)
    return facts


def _history_key(token: OrderKey) -> HistoryKey:
    match token:
        case (int(receive_us), int(log_index), bytes(event_uid)):
            return receive_us, log_index, UUID(bytes=event_uid)
        case _:
            raise invalid_field("page_token", "is not one of ours", reason="page_token")


def _all_of(keys: Sequence[PersonKey], found: dict[PersonKey, Known]) -> list[Known]:
    for key in keys:
        if key not in found:
            raise _not_found(key)
    return [found[key] for key in keys]


def _check_etag(given: str, key: PersonKey, known: Known | None) -> None:
    if given and (known is None or given != convert.etag(known)):
        name = format_name(key[0], "profiles", key[1])
        raise Aborted(
            ErrorReason.ERROR_REASON_ETAG_MISMATCH,
            f"{name} has changed since it was read",
            metadata={"resourceName": name},
        )


def _not_found(key: PersonKey) -> NotFound:
    name = format_name(key[0], "profiles", key[1])
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such profile: {name}",
        metadata={"resourceName": name},
    )
