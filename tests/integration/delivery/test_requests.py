"""Makes sure that what delivery is asked wrongly is refused with a reason, and the rest answered."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.delivery.v1 import template_service_pb2 as template_pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import reason_of
from tests.integration.delivery.peers import Peers
from tests.integration.delivery.service import (
    EMAIL,
    FAR,
    WEBHOOK,
    Service,
    a_delivery,
    a_template,
    service,
)
from tests.waiting import eventually

HOST = "hooks.example.com"
NINES = "".join(f"{{% for {name} in '0123456789' %}}" for name in "abcdefghi") + "{% endfor %}" * 9


@pytest.fixture
async def delivery(tmp_path: Path, database_url: str, peers: Peers) -> AsyncIterator[Service]:
    async with service(tmp_path, database_url, peers.address, hooks=HOST) as running:
        yield running


async def refusal(call: object) -> tuple[str, str, str]:
    """Return code, reason and text of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code().name, reason_of(caught.value), caught.value.details() or ""


async def test_a_template_is_made_changed_listed_and_removed(delivery: Service) -> None:
    made = await delivery.save(a_template("one", hook=HOST))
    patch = template_pb.Template(name=made.name, etag=made.etag)
    patch.email.subject = "New"
    changed = await delivery.templates.UpdateTemplate(
        template_pb.UpdateTemplateRequest(
            template=patch, update_mask=FieldMask(paths=["email.subject"])
        )
    )
    stale = await refusal(
        delivery.templates.UpdateTemplate(template_pb.UpdateTemplateRequest(template=patch))
    )
    for name in ("two", "three"):
        await delivery.save(a_template(name))
    first = await delivery.templates.ListTemplates(
        template_pb.ListTemplatesRequest(parent="workspaces/w", page_size=2)
    )
    rest = await delivery.templates.ListTemplates(
        template_pb.ListTemplatesRequest(
            parent="workspaces/w", page_size=2, page_token=first.next_page_token
        )
    )
    await delivery.templates.DeleteTemplate(template_pb.DeleteTemplateRequest(name=made.name))
    gone = await refusal(
        delivery.templates.GetTemplate(template_pb.GetTemplateRequest(name=made.name))
    )

    assert changed.email.subject == "New"
    assert changed.email.text == made.email.text
    assert changed.etag != made.etag
    assert stale[:2] == ("ABORTED", "ETAG_MISMATCH")
    assert [t.name.split("/")[-1] for t in (*first.templates, *rest.templates)] == [
        "one",
        "three",
        "two",
    ]
    assert rest.next_page_token == ""
    assert gone[:2] == ("NOT_FOUND", "RESOURCE_NOT_FOUND")


async def test_saving_the_same_again_changes_nothing(delivery: Service) -> None:
    first = await delivery.save(a_template())

    again = await delivery.save(a_template())

    assert again == first


async def test_validate_only_writes_nothing(delivery: Service) -> None:
    await delivery.templates.UpdateTemplate(
        template_pb.UpdateTemplateRequest(
            template=a_template(), allow_missing=True, validate_only=True
        )
    )

    missing = await refusal(
        delivery.templates.GetTemplate(
            template_pb.GetTemplateRequest(name="workspaces/w/templates/cart")
        )
    )
    assert missing[0] == "NOT_FOUND"


BAD_TEXTS = [
    ("{{ user.name }}\n", "TEMPLATE_INVALID", "user is unknown"),
    ("a\nb {{ event.id|shout }}", "TEMPLATE_INVALID", "line 2: there is no filter shout"),
    ("{% for i in range(10**9) %}x{% endfor %}", "TEMPLATE_INVALID", "range is unknown"),
    ("{% if event.id %}", "TEMPLATE_INVALID", "line 1"),
    ("{% include 'x' %}", "TEMPLATE_INVALID", "templates stand alone"),
    (NINES, "TEMPLATE_TOO_COSTLY", "too much time or memory"),
    ("{{ 'a' * 10**9 }}", "TEMPLATE_TOO_COSTLY", "too much"),
    ("{{ 'a'|center(10**9) }}", "TEMPLATE_TOO_COSTLY", "too much"),
    ("{{ '%0999999999d'|format(1) }}", "TEMPLATE_TOO_COSTLY", "too much"),
    ("{{ 9**9999 }}", "TEMPLATE_TOO_COSTLY", "too much"),
]


async def test_a_bad_template_is_refused_with_its_reason(delivery: Service) -> None:
    template = a_template()
    for text, reason, says in BAD_TEXTS:
        template.email.text = text

        code, why, details = await refusal(delivery.save(template))

        assert (code, why) == ("INVALID_ARGUMENT", reason), text
        assert says in details


async def test_parts_that_can_never_be_sent_are_refused(delivery: Service) -> None:
    foreign = a_template(hook="elsewhere.example.com")
    no_json = a_template(hook=HOST, body='{"to": {{ profile.id|tojson }}')
    bad_sender = a_template()
    bad_sender.email.sender = "Shop <shop@example.com>\r\nBcc: eve@example.com"
    bad_default = a_template()
    bad_default.defaults["secrets.key"].string_value = "x"
    no_number = a_template()
    no_number.defaults["profile.attributes.share"].number_value = float("nan")
    no_part = template_pb.Template(name="workspaces/w/templates/none")
    too_large = a_template()
    too_large.email.text = "x" * 70_000
    bad_url = a_template(hook=HOST)
    bad_url.webhook.url = "file:///etc/passwd"

    assert (await refusal(delivery.save(foreign)))[1] == "HOST_FORBIDDEN"
    assert (await refusal(delivery.save(no_json)))[1] == "TEMPLATE_INVALID"
    assert (await refusal(delivery.save(bad_sender)))[1] == "FIELD_INVALID"
    assert (await refusal(delivery.save(bad_default)))[1] == "FIELD_INVALID"
    assert (await refusal(delivery.save(no_number)))[1] == "FIELD_INVALID"
    assert (await refusal(delivery.save(no_part)))[1] == "FIELD_INVALID"
    assert (await refusal(delivery.save(too_large)))[1] == "FIELD_INVALID"
    assert (await refusal(delivery.save(bad_url)))[1] == "FIELD_INVALID"


async def test_a_template_can_be_looked_at_without_sending(delivery: Service) -> None:
    await delivery.save(a_template(hook=HOST))
    data = Struct()
    data.update({"event": {"properties": {"items": [1], "value": 5}}, "profile": {"id": "ana"}})

    rendered = await delivery.templates.RenderTemplate(
        template_pb.RenderTemplateRequest(name="workspaces/w/templates/cart", data=data)
    )
    lacking = await refusal(
        delivery.templates.RenderTemplate(
            template_pb.RenderTemplateRequest(name="workspaces/w/templates/cart")
        )
    )

    data.update({"share": float("inf")})
    no_number = await refusal(
        delivery.templates.RenderTemplate(
            template_pb.RenderTemplateRequest(name="workspaces/w/templates/cart", data=data)
        )
    )

    assert rendered.email_subject == "Hi there"
    assert no_number[1:] == ("FIELD_INVALID", "data: must hold numbers that JSON has")
    assert rendered.webhook_body == '{"to": "ana", "value": 5}'
    assert lacking[2] == ("data: lacks event.properties.items, event.properties.value, profile.id")


BAD_FIELDS: list[dict[str, Any]] = [
    {"delivery_id": b"short"},
    {"profile": "workspaces/w/profiles/a\0b"},
    {"profile": "profiles/ana"},
    {"campaign": "workspaces/other/campaigns/cart"},
    {"template": "workspaces/w/templates/"},
    {"channel": 0},
    {"channel": 77},
    {"data_json": b""},
    {"data_json": b"[1]"},
    {"data_json": b"{" + b" " * (192 << 10)},
    {"expire_time": Timestamp()},
    {"expire_time": Timestamp(seconds=FAR * 1000)},
]


async def test_a_bad_delivery_is_refused_and_none_of_the_batch_is_queued(
    delivery: Service,
) -> None:
    for bad in BAD_FIELDS:
        good, wrong = a_delivery(EMAIL), a_delivery(WEBHOOK)
        for name, value in bad.items():
            wrong.ClearField(name)  # type: ignore[arg-type]
            wrong.MergeFrom(pb.CreateDeliveryRequest(**{name: value}))

        code, reason, details = await refusal(delivery.create(good, wrong))

        assert (code, reason) == ("INVALID_ARGUMENT", "FIELD_INVALID"), bad
        assert details.startswith("requests[1].")
    listed = await delivery.deliveries.ListDeliveries(
        pb.ListDeliveriesRequest(parent="workspaces/w")
    )
    assert not listed.deliveries


async def test_batches_have_bounds(delivery: Service) -> None:
    one = a_delivery()

    too_many = await refusal(delivery.create(*[one] * 1001))
    none = await refusal(delivery.create())

    assert too_many[:2] == ("INVALID_ARGUMENT", "BATCH_TOO_LARGE")
    assert none[:2] == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_deliveries_are_listed_newest_first_page_by_page(delivery: Service) -> None:
    await delivery.save(a_template())
    for number in range(5):
        await delivery.create(a_delivery(EMAIL, profile=f"p{number}"))

    async def ended() -> bool:
        listed = await delivery.deliveries.ListDeliveries(
            pb.ListDeliveriesRequest(parent="workspaces/w", states=[pb.Delivery.STATE_FAILED])
        )
        return len(listed.deliveries) == 5

    await eventually(ended)
    request = pb.ListDeliveriesRequest(parent="workspaces/w", page_size=2)
    profiles = []
    while True:
        page = await delivery.deliveries.ListDeliveries(request)
        profiles += [one.profile.split("/")[-1] for one in page.deliveries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    hers = await delivery.deliveries.ListDeliveries(
        pb.ListDeliveriesRequest(parent="workspaces/w", profile="workspaces/w/profiles/p3")
    )
    other = await delivery.deliveries.ListDeliveries(
        pb.ListDeliveriesRequest(parent="workspaces/other")
    )
    request.states.append(pb.Delivery.STATE_SENT)
    request.page_token = (
        await delivery.deliveries.ListDeliveries(
            pb.ListDeliveriesRequest(parent="workspaces/w", page_size=2)
        )
    ).next_page_token
    changed = await refusal(delivery.deliveries.ListDeliveries(request))

    assert profiles == ["p4", "p3", "p2", "p1", "p0"]
    assert [one.error for one in hers.deliveries] == ["ADDRESS_MISSING"]
    assert not other.deliveries
    assert changed[1] == "PAGE_TOKEN_INVALID"
