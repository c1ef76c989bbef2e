"""Makes sure that only tokens that can be ones pass, and that reach follows from the devices."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile.model import DAY_US
from services.profile.model.devices import DEVICES_MAX, Device, DeviceState, Platform, Reach
from services.profile.rules.devices import (
    BadToken,
    as_one,
    displaced,
    identity_of,
    is_locale,
    reach,
    spell_token,
    state_of,
    usable,
)

NOW_US = 300 * DAY_US
POINT = urlsafe_b64encode(b"\x04" + bytes(64)).decode()
SECRET = urlsafe_b64encode(bytes(16)).decode()


def subscription(
    endpoint: object = "https://push.example.com/send/1",
    point: object = POINT,
    secret: object = SECRET,
    **more: object,
) -> str:
    keys = {"p256dh": point, "auth": secret}
    return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys, **more})


def a_device(
    number: int = 1,
    *,
    state: DeviceState = DeviceState.ACTIVE,
    age_us: int = 0,
    member: str = "ana",
) -> Device:
    return Device(
        device_id=UUID(int=number),
        member_id=member,
        platform=Platform.FCM,
        state=state,
        seen_us=NOW_US - age_us,
        token="",
        app="",
        locale="",
        reason="",
        create_time=datetime(2026, 11, 22, tzinfo=UTC),
        end_time=None,
    )


devices = st.lists(
    st.builds(
        a_device,
        st.integers(1, 8),
        state=st.sampled_from([DeviceState.ACTIVE, DeviceState.RELEASED, DeviceState.RETIRED]),
        age_us=st.sampled_from([0, 1, 30 * DAY_US - 1, 30 * DAY_US, 30 * DAY_US + 1]),
        member=st.sampled_from(["ana", "anon"]),
    ),
    max_size=20,
)


@pytest.mark.parametrize(
    ("platform", "token"),
    [
        (Platform.FCM, "cx9:APA91b-_x"),
        (Platform.APNS, "ab" * 32),
        (Platform.WEB_PUSH, subscription()),
        (Platform.WEB_PUSH, subscription(point=POINT.rstrip("="), secret=SECRET.rstrip("="))),
    ],
)
def test_a_token_of_the_platform_passes_and_is_spelled_once(platform: Platform, token: str) -> None:
    spelled = spell_token(platform, token)

    assert spell_token(platform, spelled) == spelled


@pytest.mark.parametrize(
    ("platform", "token"),
    [
        (Platform.FCM, ""),
        (Platform.FCM, "two words"),
        (Platform.FCM, "nul\0"),
        (Platform.FCM, "tökén"),
        (Platform.APNS, ""),
        (Platform.APNS, "abc"),
        (Platform.APNS, "xyz0"),
        (Platform.APNS, "ab\n"),
        (Platform.WEB_PUSH, "https://push.example.com"),
        (Platform.WEB_PUSH, "[]"),
        (Platform.WEB_PUSH, "[" * 3000),
        (Platform.WEB_PUSH, '{"endpoint": "https://push.example.com"}'),
        (Platform.WEB_PUSH, subscription(endpoint="http://push.example.com/1")),
        (Platform.WEB_PUSH, subscription(endpoint="https://")),
        (Platform.WEB_PUSH, subscription(endpoint="https://a:b:c/")),
        (Platform.WEB_PUSH, subscription(endpoint="https://a.example/\n")),
        (Platform.WEB_PUSH, subscription(endpoint=7)),
        (Platform.WEB_PUSH, subscription(point=SECRET)),
        (Platform.WEB_PUSH, subscription(point=urlsafe_b64encode(bytes(65)).decode())),
        (Platform.WEB_PUSH, subscription(point=None)),
        (Platform.WEB_PUSH, subscription(secret=POINT)),
        (Platform.WEB_PUSH, subscription(secret="A")),
        (Platform.WEB_PUSH, subscription(secret="+" * 22)),
    ],
)
def test_what_cannot_be_a_token_is_refused_and_not_told_back(
    platform: Platform, token: str
) -> None:
    with pytest.raises(BadToken) as refused:
        spell_token(platform, token)

    assert not token or token not in str(refused.value)


def test_tokens_that_a_provider_takes_for_one_are_one() -> None:
    assert spell_token(Platform.APNS, "AB12") == spell_token(Platform.APNS, "ab12")
    again = json.dumps(json.loads(subscription()), indent=2, sort_keys=True)
    assert spell_token(Platform.WEB_PUSH, again) == spell_token(Platform.WEB_PUSH, subscription())


def test_a_subscription_is_the_same_device_with_new_keys() -> None:
    other = urlsafe_b64encode(b"0123456789abcdef").decode()
    one, two = (
        identity_of(Platform.WEB_PUSH, spell_token(Platform.WEB_PUSH, subscription(secret=secret)))
        for secret in (SECRET, other)
    )

    assert one == two == "https://push.example.com/send/1"


@pytest.mark.parametrize(("text", "holds"), [("de", True), ("pt-BR", True), ("de_DE", False)])
def test_a_locale_is_a_language_tag(text: str, holds: bool) -> None:
    assert is_locale(text) is holds


@pytest.mark.parametrize(
    ("age_us", "state"),
    [(30 * DAY_US - 1, DeviceState.ACTIVE), (30 * DAY_US, DeviceState.STALE)],
)
def test_a_device_is_stale_at_30_days(age_us: int, state: DeviceState) -> None:
    assert state_of(a_device(age_us=age_us), NOW_US) == state


def test_what_has_ended_is_never_stale() -> None:
    ended = a_device(state=DeviceState.RETIRED, age_us=100 * DAY_US)

    assert state_of(ended, NOW_US) == DeviceState.RETIRED


@given(devices)
def test_of_every_device_there_is_one_and_whoever_has_it_speaks_for_it(kept: list[Device]) -> None:
    listed = as_one(kept)

    assert {one.device_id for one in listed} == {one.device_id for one in kept}
    assert len({one.device_id for one in listed}) == len(listed)
    assert sorted(listed, key=lambda one: one.seen_us, reverse=True) == listed
    for one in listed:
        others = [other for other in kept if other.device_id == one.device_id]
        assert one.is_used == any(other.is_used for other in others)


@given(devices)
def test_push_reaches_exactly_who_has_a_device_to_push_to(kept: list[Device]) -> None:
    _, push, _ = reach("", "", kept, NOW_US)

    fresh = [one for one in kept if one.is_used and one.seen_us > NOW_US - 30 * DAY_US]
    used = any(one.is_used for one in kept)
    reason = "" if fresh else "all devices stale" if used else "no device"
    assert push == Reach("push", reason)
    assert bool(usable(kept, NOW_US)) == bool(fresh)


def test_mail_and_text_messages_follow_the_addresses() -> None:
    assert reach("a@b.c", "", [], NOW_US) == [
        Reach("email"),
        Reach("push", "no device"),
        Reach("sms", "no address"),
    ]
    assert reach("", "+4912345", [], NOW_US)[2] == Reach("sms")


def test_what_is_not_used_makes_room_first_and_then_the_unseen() -> None:
    used = [a_device(number, age_us=number) for number in range(2, DEVICES_MAX + 2)]
    ended = a_device(1, state=DeviceState.RELEASED)

    assert displaced([*used, ended]) == [ended]
    assert displaced([*used, a_device(99)]) == [used[-1]]
    assert displaced(used) == []
