"""What holds for all campaigns of a workspace."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import settings_service_pb2 as pb
from beckon.trigger.v1 import settings_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import Aborted, invalid_field
from mesh.masks import apply_update
from mesh.names import workspace_of
from services.trigger.convert.settings import to_message, to_settings
from services.trigger.model import Settings, StoredSettings
from services.trigger.rules import known_zone
from services.trigger.store import SettingsStore


class SettingsServicer(rpc.SettingsServiceServicer):
    def __init__(self, store: SettingsStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def GetSettings(self, request: pb.GetSettingsRequest, context: object) -> pb.Settings:
        async with self._store.database.connection() as connection:
            return to_message(await self._store.get(connection, workspace_of(request.name)))

    async def UpdateSettings(
        self, request: pb.UpdateSettingsRequest, context: object
    ) -> pb.Settings:
        workspace = workspace_of(request.settings.name, field="settings.name")
        async with self._store.database.transaction() as connection:
            stored = await self._store.get(connection, workspace, lock=True)
            current = to_message(stored)
            _check_etag(current, request.settings.etag)
            changed, _ = apply_update(current, request.settings, request.update_mask)
            settings = to_settings(changed)
            _check(settings)
            if settings == stored.settings:
                return current
            stored = StoredSettings(
                workspace=workspace,
                settings=settings,
                revision=stored.revision + 1,
                update_time=self._clock.now(),
            )
            await self._store.put(connection, stored)
            return to_message(stored)


def _check(settings: Settings) -> None:
    if settings.time_zone and not known_zone(settings.time_zone):
        raise invalid_field(
            "settings.time_zone",
            "must be a zone of the tz database, as Asia/Kolkata",
            reason="time_zone",
        )
    if settings.holdout_percent != round(settings.holdout_percent, 2):
        raise invalid_field(
            "settings.holdout_percent", "has more than two decimal places", reason="precision"
        )


def _check_etag(current: pb.Settings, etag: str) -> None:
    if etag and etag != current.etag:
        raise Aborted(
            ErrorReason.ERROR_REASON_ETAG_MISMATCH,
            f"{current.name} have changed since they were read",
            metadata={"resourceName": current.name},
        )
