"""Makes sure that what holds for a workspace is kept, checked, and judged with at once."""

from collections.abc import Callable

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import settings_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import Aborted, InvalidArgument
from services.trigger.model import Settings
from services.trigger.servicer import SettingsServicer
from services.trigger.store import SettingsStore
from tests.integration.trigger.house import House, a_campaign

NAME = "workspaces/acme/settings"


@pytest.fixture
def settings(house: House) -> SettingsServicer:
    return SettingsServicer(SettingsStore(house.database), house.clock)


def update(*paths: str, **values: object) -> pb.UpdateSettingsRequest:
    """Return a request that sets `values`, and of them only `paths` if there are any."""
    message = pb.Settings(name=NAME, **values)  # type: ignore[arg-type]
    return pb.UpdateSettingsRequest(
        settings=message, update_mask=FieldMask(paths=paths) if paths else None
    )


async def test_a_workspace_that_has_set_nothing_has_the_defaults(
    settings: SettingsServicer,
) -> None:
    found = await settings.GetSettings(pb.GetSettingsRequest(name=NAME), None)

    assert found == pb.Settings(name=NAME, etag="0")


async def test_what_is_set_is_kept_and_the_rest_stays(settings: SettingsServicer) -> None:
    await settings.UpdateSettings(update(holdout_percent=2.5, holdout_salt="june"), None)

    changed = await settings.UpdateSettings(update(time_zone="Asia/Kolkata"), None)

    assert (changed.time_zone, changed.holdout_percent) == ("Asia/Kolkata", 2.5)
    assert changed.etag == "2"
    assert changed == await settings.GetSettings(pb.GetSettingsRequest(name=NAME), None)


async def test_a_mask_clears_what_it_names(settings: SettingsServicer) -> None:
    await settings.UpdateSettings(update(time_zone="Asia/Kolkata", holdout_salt="june"), None)

    changed = await settings.UpdateSettings(update("time_zone"), None)

    assert (changed.time_zone, changed.holdout_salt) == ("", "june")


async def test_what_changes_nothing_is_no_change(settings: SettingsServicer) -> None:
    first = await settings.UpdateSettings(update(time_zone="Asia/Kolkata"), None)

    assert await settings.UpdateSettings(update(time_zone="Asia/Kolkata"), None) == first


async def test_settings_that_have_changed_since_are_not_overwritten(
    settings: SettingsServicer,
) -> None:
    await settings.UpdateSettings(update(time_zone="Asia/Kolkata"), None)

    with pytest.raises(Aborted) as refused:
        await settings.UpdateSettings(update(time_zone="Europe/Paris", etag="0"), None)

    assert refused.value.reason == ErrorReason.ERROR_REASON_ETAG_MISMATCH


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (lambda: update(time_zone="Mars/Olympus"), "settings.time_zone"),
        (lambda: update(time_zone="../../etc/passwd"), "settings.time_zone"),
        (lambda: update(holdout_percent=0.125), "settings.holdout_percent"),
    ],
)
async def test_what_nobody_could_judge_with_is_refused(
    settings: SettingsServicer, request_: Callable[[], pb.UpdateSettingsRequest], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await settings.UpdateSettings(request_(), None)

    assert [one.field for one in refused.value.violations] == [field]


async def test_campaigns_are_judged_with_settings_as_soon_as_those_are_there(
    house: House, settings: SettingsServicer
) -> None:
    await house.launch(a_campaign())
    before = await house.worker.catalogues.reload()

    await settings.UpdateSettings(update(time_zone="Asia/Kolkata"), None)

    after = await house.worker.catalogues.reload()
    expected = Settings(time_zone="Asia/Kolkata")
    assert after.version > before.version
    assert after.settings("acme") == expected
    assert after.plans["acme", "cart"].settings == expected
    assert after.settings("other") == Settings()
