"""Makes sure that an attribute has one type in its workspace, whoever is first."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from shutil import copy

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import attribute_service_pb2 as pb
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1.attribute_service_pb2 import Attribute
from google.protobuf import json_format

from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound, ResourceExhausted
from mesh.migrations import migrate
from services.profile.model.attributes import AttributeType
from services.profile.store import MIGRATIONS, SCHEMA, connect
from services.profile.store.attributes import Attributes, AttributeTypes
from stack.servers.postgresql import Postgres
from tests.integration.profile.world import NOW, Profiles, a_record, an_event


def named(key: str, workspace: str = "acme") -> str:
    return f"workspaces/{workspace}/attributes/{key}"


async def declare(profiles: Profiles, key: str, kind: Attribute.Type.ValueType) -> Attribute:
    request = pb.CreateAttributeRequest(attribute=Attribute(name=named(key), type=kind))
    return await profiles.attributes.CreateAttribute(request, None)


async def type_of(profiles: Profiles, key: str, workspace: str = "acme") -> str:
    request = pb.GetAttributeRequest(name=named(key, workspace))
    found = await profiles.attributes.GetAttribute(request, None)
    return AttributeType(found.type).name


async def write(
    profiles: Profiles,
    values: Mapping[str, object],
    profile: str = "ana",
    workspace: str = "acme",
) -> profile_pb.Profile:
    message = profile_pb.Profile(name=f"workspaces/{workspace}/profiles/{profile}")
    json_format.ParseDict(dict(values), message.attributes)
    request = profile_pb.UpdateProfileRequest(profile=message, allow_missing=True)
    request.update_mask.paths.extend(f"attributes.{key}" for key in values)
    return await profiles.profiles.UpdateProfile(request, None)


async def test_the_first_write_sets_the_type_for_everybody(profiles: Profiles) -> None:
    await write(
        profiles,
        {"s": "x", "n": 1.5, "b": True, "t": "2026-01-31T09:00:00Z", "li": [1, "a"], "o": {"a": 1}},
    )

    types = [await type_of(profiles, key) for key in ("s", "n", "b", "t", "li", "o")]

    assert types == ["STRING", "NUMBER", "BOOLEAN", "TIMESTAMP", "LIST", "OBJECT"]
    with pytest.raises(FailedPrecondition) as refused:
        await write(profiles, {"n": "one"}, "ben")
    assert refused.value.reason == ErrorReason.ERROR_REASON_ATTRIBUTE_TYPE_CONFLICT
    assert refused.value.metadata == {"attribute": "n", "type": "NUMBER", "got": "STRING"}
    assert "attribute n takes NUMBER, got STRING" in refused.value.message
    # Another workspace has its own.
    await write(profiles, {"n": "one"}, "ben", "bolt")
    assert await type_of(profiles, "n", "bolt") == "STRING"


async def test_null_sets_no_type(profiles: Profiles) -> None:
    await write(profiles, {"n": None})

    with pytest.raises(NotFound):
        await type_of(profiles, "n")


async def test_an_event_of_another_type_is_set_aside(profiles: Profiles) -> None:
    await write(profiles, {"n": 1})

    answer = await profiles.observe(
        a_record(
            "1",
            an_event("e1", kind="profile_updated", properties={"n": "one", "tier": "gold"}),
            an_event("e2", kind="profile_updated", properties={"n": 2, "new": True}),
            an_event("e3", kind="profile_updated", properties={"new": "yes"}),
            an_event("e4", kind="profile_updated", profile="ben", properties={"new": 5}),
        )
    )

    assert sorted(answer.failed_events) == [0, 2, 3]
    assert "attribute n takes NUMBER, got STRING" in answer.failed_events[0].message
    assert await profiles.history() == ["e2"]
    assert (await profiles.standing()).attributes_json == b'{"n": 2, "new": true}'
    assert await type_of(profiles, "new") == "BOOLEAN"


async def test_operations_come_by_events_too(profiles: Profiles) -> None:
    changes: list[dict[str, object]] = [
        {"n": 5, "likes": ["a", "b"], "$set_once": {"first": "shop"}},
        {"$increment": {"n": 2.5}, "$append": {"likes": ["b", "c"]}, "$remove": {"likes": "a"}},
        {"$set_once": {"first": "app"}, "$unset": ["n"]},
    ]
    events = [
        an_event(f"e{at}", kind="profile_updated", properties=change)
        for at, change in enumerate(changes)
    ]

    await profiles.observe(a_record("1", *events))

    assert (await profiles.standing()).attributes_json == (
        b'{"first": "shop", "likes": ["b", "c"]}'
    )


async def test_when_each_was_written_is_remembered(profiles: Profiles) -> None:
    await profiles.observe(
        a_record("1", an_event(kind="profile_updated", properties={"n": 5, "locale": "de"}))
    )
    await write(profiles, {"n": None})

    (row,) = await profiles.fetch("SELECT attribute_times::text FROM profiles")

    written = (NOW.timestamp()) * 1_000_000
    assert row[0] == f'{{"n": {written + 1:.0f}, "locale": {written:.0f}}}'


async def test_of_two_first_writes_at_once_one_wins(profiles: Profiles) -> None:
    for turn in range(15):
        a, b = f"a{turn}", f"b{turn}"
        answers = await asyncio.gather(
            write(profiles, {a: 1, b: "x"}, f"ana{turn}"),
            write(profiles, {b: 2, a: "y"}, f"ben{turn}"),
            return_exceptions=True,
        )
        refused = [one for one in answers if isinstance(one, FailedPrecondition)]
        assert len(refused) == 1, answers
        winner = "NUMBER" if isinstance(answers[1], FailedPrecondition) else "STRING"
        assert await type_of(profiles, a) == winner


async def test_events_and_calls_that_write_first_at_once_agree(profiles: Profiles) -> None:
    for turn in range(10):
        key = f"k{turn}"
        change = an_event(
            f"e{turn}", kind="profile_updated", profile=f"ben{turn}", properties={key: "text"}
        )
        written, observed = await asyncio.gather(
            write(profiles, {key: 1}, f"ana{turn}"),
            profiles.observe(a_record(str(turn), change)),
            return_exceptions=True,
        )
        assert not isinstance(observed, BaseException)
        refused = isinstance(written, FailedPrecondition)
        assert refused != bool(observed.failed_events)
        assert await type_of(profiles, key) == ("STRING" if refused else "NUMBER")


async def test_what_is_rolled_back_sets_no_type(profiles: Profiles) -> None:
    await write(profiles, {"other": 1})

    with pytest.raises(MeshError):
        await write(profiles, {"new": 1, "other": "text"})

    with pytest.raises(NotFound):
        await type_of(profiles, "new")
    await write(profiles, {"new": "text"})


async def test_an_attribute_is_declared_once(profiles: Profiles) -> None:
    first = await declare(profiles, "trial_end", Attribute.TYPE_TIMESTAMP)
    again = await declare(profiles, "trial_end", Attribute.TYPE_TIMESTAMP)

    assert first == again
    assert first.create_time.ToDatetime(NOW.tzinfo) == NOW
    with pytest.raises(FailedPrecondition):
        await declare(profiles, "trial_end", Attribute.TYPE_STRING)
    with pytest.raises(FailedPrecondition):
        await write(profiles, {"trial_end": "tomorrow"})
    await write(profiles, {"trial_end": "2026-01-31T09:00:00+01:00"})


@pytest.mark.parametrize("key", ["email", "$set", "locale", "a" * 129])
async def test_what_can_be_no_attribute_is_not_declared(profiles: Profiles, key: str) -> None:
    with pytest.raises(InvalidArgument):
        await declare(profiles, key, Attribute.TYPE_STRING)


async def test_attributes_are_listed_by_key(profiles: Profiles) -> None:
    await write(profiles, dict.fromkeys("bdac", 1))
    await write(profiles, {"z": 1}, workspace="bolt")

    found, token = [], ""
    for _ in range(2):
        request = pb.ListAttributesRequest(parent="workspaces/acme", page_size=3, page_token=token)
        page = await profiles.attributes.ListAttributes(request, None)
        found += [one.name for one in page.attributes]
        token = page.next_page_token

    assert (found, token) == ([named(key) for key in "abcd"], "")


async def test_a_workspace_has_at_most_2000_attributes(profiles: Profiles) -> None:
    await profiles.fetch(
        "INSERT INTO attributes SELECT 'acme', 'k' || i, 2, now() FROM generate_series(1, 1999) i"
    )

    answers = await asyncio.gather(
        write(profiles, {"one": 1}), write(profiles, {"two": 1}, "ben"), return_exceptions=True
    )

    refused = [one for one in answers if isinstance(one, ResourceExhausted)]
    assert len(refused) == 1
    assert refused[0].metadata == {"collection": "attributes", "limit": "2000"}
    await write(profiles, {"k7": 1})
    change = an_event(kind="profile_updated", properties={"three": 1})
    assert list((await profiles.observe(a_record("1", change))).failed_events) == [0]


async def test_attributes_from_before_types_get_that_of_most(
    server: Postgres, tmp_path: Path
) -> None:
    for file in MIGRATIONS.glob("000[1-6]_*.sql"):
        copy(file, tmp_path)
    url = await server.create_database("earlier")
    await migrate(url, schema=SCHEMA, folder=tmp_path)
    people = ['{"a": 1}', '{"a": 2, "t": "2026-01-31T09:00:00Z", "x/y": 1}', '{"a": "x", "o": {}}']
    async with connect(url, size=2) as database:
        async with database.connection() as connection:
            for at, values in enumerate(people):
                await connection.execute(
                    "INSERT INTO profiles (workspace, profile_id, shard, create_time, update_time,"
                    " attributes) VALUES ('acme', $1, 1, now(), now(), $2)",
                    f"p{at}",
                    values,
                )
        await migrate(url, schema=SCHEMA, folder=MIGRATIONS)
        store = Attributes(database, AttributeTypes())
        found = await store.page("acme", "", limit=10)

    assert [(one.key, one.type.name) for one in found] == [
        ("a", "NUMBER"),
        ("o", "OBJECT"),
        ("t", "TIMESTAMP"),
    ]


async def test_what_can_be_no_key_is_not_found(profiles: Profiles) -> None:
    request = pb.GetAttributeRequest(name="workspaces/acme/attributes/ti\0er")

    with pytest.raises(NotFound):
        await profiles.attributes.GetAttribute(request, None)
