"""Sends, verdicts, subscriptions and caps, on the wire and as we know them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.throttle.v1 import frequency_cap_service_pb2 as caps_pb
from beckon.throttle.v1 import identity_service_pb2 as identities_pb
from beckon.throttle.v1 import subscription_service_pb2 as subscriptions_pb
from beckon.throttle.v1 import throttle_service_pb2 as pb
from beckon.type.v1 import channel_pb2

from mesh.errors import FieldViolation, InvalidArgument, invalid_field
from mesh.names import ID_PATTERN, RESOURCE_ID_PATTERN, format_name, parse_name
from services.throttle.model import (
    Allow,
    Asked,
    Calendar,
    Channel,
    Consent,
    Defer,
    FrequencyCap,
    Identity,
    Limit,
    OnBreach,
    Outcome,
    Rolling,
    Send,
    Settlement,
    StoredCap,
    Subscription,
    Suppress,
    Verdict,
    Window,
)
from services.throttle.rules import micros

BATCH_MAX = 1000

# As many ids as profile unites.
_MEMBERS_MAX = 100
_MEMBER = re.compile(ID_PATTERN)
_PROFILE = re.compile(rf"workspaces/({RESOURCE_ID_PATTERN})/profiles/({ID_PATTERN})")
_CHANNELS: Mapping[int, Channel] = {channel.value: channel for channel in Channel}
_SEND_ID_BYTES = 16
_ALLOW = pb.Verdict(allow=pb.Verdict.Allow())
_OUTCOMES: Mapping[int, Outcome] = {
    pb.Settlement.OUTCOME_COMMITTED: Outcome.COMMITTED,
    pb.Settlement.OUTCOME_RELEASED: Outcome.RELEASED,
}
_CALENDARS: Mapping[int, Calendar] = {
    caps_pb.FrequencyCap.CALENDAR_WINDOW_DAY: Calendar.DAY,
    caps_pb.FrequencyCap.CALENDAR_WINDOW_WEEK: Calendar.WEEK,
}


def sends(request: pb.ReserveSendsRequest) -> list[Send]:
    """Return the sends; refuses all when one is malformed, naming each bad field."""
    _check_size(len(request.sends), "sends")
    found: list[Send] = []
    violations: list[FieldViolation] = []
    for index, send in enumerate(request.sends):
        name = _PROFILE.fullmatch(send.profile)
        channel = _CHANNELS.get(send.channel)
        if (
            name is None
            or channel is None
            or len(send.send_id) != _SEND_ID_BYTES
            or not send.HasField("expire_time")
        ):
            violations += _send_violations(index, send)
            continue
        time = send.expire_time
        found.append(
            Send(
                send.send_id,
                name[1],
                name[2],
                channel,
                send.critical,
                send.time_zone,
                time.seconds * 1_000_000 + time.nanos // 1000,
            )
        )
    _refuse(violations)
    return found


def reserved(verdicts: Sequence[Verdict]) -> pb.ReserveSendsResponse:
    """Return the verdicts in their order."""
    return pb.ReserveSendsResponse(verdicts=[_verdict(verdict) for verdict in verdicts])


def explained(request: pb.ExplainSendRequest, now: datetime) -> Asked:
    """Return what is asked; the schema has checked it."""
    workspace, profile_id = parse_name(request.profile, "profiles", field="profile")
    time_us = request.time.ToMicroseconds() if request.HasField("time") else micros(now)
    channel = _CHANNELS.get(request.channel)
    if channel is None:
        raise invalid_field("channel", "no message goes by it", reason="channel")
    return Asked(workspace, profile_id, channel, request.time_zone, time_us)


def explanation(
    workspace: str, uses: Sequence[tuple[Limit, Sequence[bytes]]]
) -> pb.ExplainSendResponse:
    """Return how full caps are."""
    return pb.ExplainSendResponse(
        caps=[
            pb.ExplainSendResponse.CapUse(
                frequency_cap=format_name(workspace, "frequencyCaps", limit.cap.cap_id),
                limit=limit.cap.limit,
                send_ids=send_ids,
            )
            for limit, send_ids in uses
        ]
    )


def settlements(request: pb.SettleSendsRequest) -> list[Settlement]:
    """Return the settlements; refuses all when one is malformed, naming each bad field."""
    _check_size(len(request.settlements), "settlements")
    found: list[Settlement] = []
    violations: list[FieldViolation] = []
    for index, one in enumerate(request.settlements):
        name = _PROFILE.fullmatch(one.profile)
        outcome = _OUTCOMES.get(one.outcome)
        if name is None or outcome is None or len(one.send_id) != _SEND_ID_BYTES:
            violations += _settlement_violations(index, one)
            continue
        found.append(Settlement(one.send_id, name[1], name[2], outcome))
    _refuse(violations)
    return found


def subscriptions(
    request: subscriptions_pb.BatchUpdateSubscriptionsRequest,
) -> list[Subscription]:
    """Return the subscriptions; refuses all when one is of another workspace or channel."""
    workspace = request.parent.removeprefix("workspaces/")
    found: list[Subscription] = []
    violations: list[FieldViolation] = []
    for index, one in enumerate(request.subscriptions):
        field = f"subscriptions[{index}].profile"
        of, profile_id = parse_name(one.profile, "profiles", field=field)
        if of != workspace:
            violations.append(FieldViolation(field, f"is not of {request.parent}", "parent"))
            continue
        if one.channel not in _CHANNELS:
            violations.append(_not_provided(f"subscriptions[{index}].channel", one.channel))
            continue
        found.append(
            Subscription(
                workspace=of,
                profile_id=profile_id,
                channel=_CHANNELS[one.channel],
                consent=Consent(one.state),
            )
        )
    _refuse(violations)
    return found


def identities(request: identities_pb.SetIdentitiesRequest) -> list[Identity]:
    """Return who is one person; refuses all when one is malformed, naming each bad field."""
    found: list[Identity] = []
    violations: list[FieldViolation] = []
    for index, one in enumerate(request.identities):
        path = f"identities[{index}]"
        workspace, profile_id = parse_name(one.profile, "profiles", field=f"{path}.profile")
        if not 1 <= len(one.member_ids) <= _MEMBERS_MAX or not all(
            map(_MEMBER.fullmatch, one.member_ids)
        ):
            text = f"must be 1 to {_MEMBERS_MAX} profile ids"
            violations.append(FieldViolation(f"{path}.member_ids", text, "member_ids"))
        elif profile_id not in one.member_ids:
            text = "must name the profile itself too"
            violations.append(FieldViolation(f"{path}.member_ids", text, "profile"))
        found.append(
            Identity(
                workspace=workspace,
                profile_id=profile_id,
                member_ids=tuple(one.member_ids),
                version=one.version,
            )
        )
    _refuse(violations)
    return found


def people(request: identities_pb.ErasePeopleRequest) -> list[tuple[str, str]]:
    """Return who is to be forgotten as (workspace, id), each once."""
    names = {
        parse_name(profile, "profiles", field=f"profiles[{index}]")
        for index, profile in enumerate(request.profiles)
    }
    return sorted(names)


def subscription_messages(
    found: Iterable[Subscription],
) -> list[subscriptions_pb.Subscription]:
    """Return subscriptions for the wire."""
    return [_subscription(one) for one in found]


def frequency_cap(message: caps_pb.FrequencyCap) -> FrequencyCap:
    """Return a valid cap of the wire as ours; refuses one of a channel without provider."""
    if message.channel not in _CHANNEL_OF.values():
        _refuse([_not_provided("frequency_cap.channel", message.channel)])
    workspace, cap_id = parse_name(message.name, "frequencyCaps")
    window: Window = (
        Rolling(message.rolling.ToTimedelta())
        if message.HasField("rolling")
        else _CALENDARS[message.calendar]
    )
    defers = message.on_breach == caps_pb.FrequencyCap.ON_BREACH_DEFER
    return FrequencyCap(
        workspace=workspace,
        cap_id=cap_id,
        channel=_CHANNELS.get(message.channel),
        limit=message.limit,
        window=window,
        on_breach=OnBreach.DEFER if defers else OnBreach.SUPPRESS,
    )


def frequency_cap_message(stored: StoredCap) -> caps_pb.FrequencyCap:
    """Return a cap for the wire."""
    cap = stored.cap
    message = caps_pb.FrequencyCap(
        name=format_name(cap.workspace, "frequencyCaps", cap.cap_id),
        channel=_CHANNEL_OF[cap.channel],
        limit=cap.limit,
        on_breach=(
            caps_pb.FrequencyCap.ON_BREACH_DEFER
            if cap.on_breach is OnBreach.DEFER
            else caps_pb.FrequencyCap.ON_BREACH_SUPPRESS
        ),
        etag=etag(stored),
    )
    match cap.window:
        case Rolling(span):
            message.rolling.FromTimedelta(span)
        case Calendar.DAY:
            message.calendar = caps_pb.FrequencyCap.CALENDAR_WINDOW_DAY
        case Calendar.WEEK:
            message.calendar = caps_pb.FrequencyCap.CALENDAR_WINDOW_WEEK
    message.update_time.FromDatetime(stored.update_time)
    return message


def etag(stored: StoredCap) -> str:
    """Return what changes with every change, also when a cap was deleted and made again."""
    return f"{stored.version}-{micros(stored.update_time):x}"


def _verdict(verdict: Verdict) -> pb.Verdict:
    match verdict:
        case Allow():
            return _ALLOW
        case Suppress(gate, detail):
            return pb.Verdict(suppress=pb.Verdict.Suppress(gate=gate.value, detail=detail))
        case Defer(until, gate, detail):
            message = pb.Verdict(defer=pb.Verdict.Defer(gate=gate.value, detail=detail))
            message.defer.until.FromDatetime(until)
            return message


def _subscription(one: Subscription) -> subscriptions_pb.Subscription:
    message = subscriptions_pb.Subscription(
        profile=format_name(one.workspace, "profiles", one.profile_id),
        channel=_CHANNEL_OF[one.channel],
        state=_STATES[one.consent],
    )
    if one.update_time is not None:
        message.update_time.FromDatetime(one.update_time)
    return message


_CHANNEL_OF = {
    None: channel_pb2.CHANNEL_UNSPECIFIED,
    Channel.EMAIL: channel_pb2.CHANNEL_EMAIL,
    Channel.WEBHOOK: channel_pb2.CHANNEL_WEBHOOK,
}
_STATES = {
    Consent.SUBSCRIBED: subscriptions_pb.Subscription.STATE_SUBSCRIBED,
    Consent.UNSUBSCRIBED: subscriptions_pb.Subscription.STATE_UNSUBSCRIBED,
    Consent.UNDECIDED: subscriptions_pb.Subscription.STATE_UNDECIDED,
}


def _not_provided(field: str, channel: channel_pb2.Channel.ValueType) -> FieldViolation:
    """Return what is wrong with a channel of the schema that delivery has no provider for."""
    word = channel_pb2.Channel.Name(channel).removeprefix("CHANNEL_").lower()
    return FieldViolation(field, f"no provider for {word} yet", "provider")


def _check_size(got: int, field: str) -> None:
    if got > BATCH_MAX:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_BATCH_TOO_LARGE,
            f"{field} holds {got} items, at most {BATCH_MAX} are taken",
            metadata={"limit": str(BATCH_MAX), "got": str(got)},
            violations=[FieldViolation(field, f"at most {BATCH_MAX} items", "repeated.max_items")],
        )
    if not got:
        _refuse([FieldViolation(field, "at least 1 item", "repeated.min_items")])


def _send_violations(index: int, send: pb.Send) -> Iterable[FieldViolation]:
    path = f"sends[{index}]"
    yield from _common_violations(path, send)
    if send.channel not in _CHANNELS:
        yield FieldViolation(f"{path}.channel", "must be a known channel", "enum.defined_only")
    if not send.HasField("expire_time"):
        yield FieldViolation(f"{path}.expire_time", "must be set", "required")


def _settlement_violations(index: int, one: pb.Settlement) -> Iterable[FieldViolation]:
    path = f"settlements[{index}]"
    yield from _common_violations(path, one)
    if one.outcome not in _OUTCOMES:
        yield FieldViolation(f"{path}.outcome", "must be committed or released", "enum")


def _common_violations(path: str, one: pb.Send | pb.Settlement) -> Iterable[FieldViolation]:
    if len(one.send_id) != _SEND_ID_BYTES:
        yield FieldViolation(f"{path}.send_id", "must be a UUID of 16 bytes", "bytes.len")
    if _PROFILE.fullmatch(one.profile) is None:
        form = "must have the form workspaces/{workspace}/profiles/{profile}"
        yield FieldViolation(f"{path}.profile", form, "name")


def _refuse(violations: Sequence[FieldViolation]) -> None:
    if violations:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_FIELD_INVALID,
            f"{violations[0].field}: {violations[0].description}",
            violations=violations,
        )
