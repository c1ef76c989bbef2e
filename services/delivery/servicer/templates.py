"""TemplateService: what messages say."""

from collections.abc import Sequence
from typing import Any

import msgspec
from beckon.delivery.v1 import template_service_pb2 as pb
from beckon.delivery.v1 import template_service_pb2_grpc as rpc
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.struct_pb2 import Struct, Value

from mesh.clock import Clock
from mesh.errors import (
    Aborted,
    FieldViolation,
    InvalidArgument,
    MeshError,
    invalid_field,
    unavailable,
)
from mesh.interceptors.validate import check_message
from mesh.masks import apply_update
from mesh.names import parse_name, workspace_of
from mesh.pages import PageTokens, page_size
from mesh.structs import whole_numbers
from services.delivery import convert
from services.delivery.model import AllowedHost, TemplateRecord
from services.delivery.providers.mime import BadAddress, Mailbox
from services.delivery.render import (
    Fault,
    Finding,
    Rendered,
    Renderer,
    RenderUnavailable,
    Work,
    source_key,
)
from services.delivery.rules import host_allowed, parse_target
from services.delivery.store import TemplateStore

_SAMPLE_DELIVERY = "00000000-0000-0000-0000-000000000000"


class TemplateServicer(rpc.TemplateServiceServicer):
    def __init__(
        self,
        store: TemplateStore,
        renderer: Renderer,
        clock: Clock,
        *,
        allowed: Sequence[AllowedHost],
        tokens: PageTokens,
        part_bytes_max: int,
    ) -> None:
        self._store = store
        # Not the one that renders what is sent: a template on trial may kill it.
        self._renderer = renderer
        self._clock = clock
        self._allowed = allowed
        self._tokens = tokens
        self._part_bytes_max = part_bytes_max

    async def GetTemplate(self, request: pb.GetTemplateRequest, context: object) -> pb.Template:
        return convert.template(await self._get(request.name))

    async def ListTemplates(
        self, request: pb.ListTemplatesRequest, context: object
    ) -> pb.ListTemplatesResponse:
        size = page_size(request.page_size)
        key = self._tokens.read(request)
        after = str(key[0]) if key else ""
        found = await self._store.list(
            workspace_of(request.parent, field="parent"), after, size + 1
        )
        response = pb.ListTemplatesResponse(templates=map(convert.template, found[:size]))
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].template,))
        return response

    async def UpdateTemplate(
        self, request: pb.UpdateTemplateRequest, context: object
    ) -> pb.Template:
        name = request.template.name
        workspace, identifier = parse_name(name, "templates", field="template.name")
        record = await self._store.get(workspace, identifier)
        if record is None and not request.allow_missing:
            raise convert.not_found(name, "template")
        if request.template.etag and request.template.etag != (record.etag if record else ""):
            raise _etag_mismatch(name)
        current = convert.template(record) if record else pb.Template(name=name)
        updated, _ = apply_update(current, _without_etag(request.template), request.update_mask)
        # Not the request but what it leads to: a mask may name one field of a part.
        check_message(pb.UpdateTemplateRequest(template=updated))
        await self._check(updated)
        content = convert.content_of(updated)
        if record is not None and record.content == content:
            return convert.template(record)
        changed = _record(workspace, identifier, content, self._clock)
        if not request.validate_only and not await self._store.put(
            changed, expected_etag=record.etag if record else ""
        ):
            raise _etag_mismatch(name)
        return convert.template(changed)

    async def DeleteTemplate(self, request: pb.DeleteTemplateRequest, context: object) -> Empty:
        deleted = await self._store.delete(*parse_name(request.name, "templates"))
        if not deleted and not request.allow_missing:
            raise convert.not_found(request.name, "template")
        return Empty()

    async def RenderTemplate(
        self, request: pb.RenderTemplateRequest, context: object
    ) -> pb.RenderTemplateResponse:
        source = convert.source((await self._get(request.name)).content)
        data = msgspec.json.encode(whole_numbers(_as_json(request.data, "data")))
        if len(data) > convert.DATA_BYTES_MAX:
            raise invalid_field(
                "data", f"must be at most {convert.DATA_BYTES_MAX} bytes as JSON", reason="size"
            )
        work = Work(source_key(source), 0, _SAMPLE_DELIVERY, "sample", data)
        try:
            rendered = (await self._renderer.render([work], {work.template: source}))[0]
        except RenderUnavailable as error:
            raise unavailable("renderer") from error
        if rendered.fault:
            raise self._refusal(rendered)
        return pb.RenderTemplateResponse(
            email_subject=rendered.subject,
            email_text=rendered.text,
            email_html=rendered.html,
            webhook_body=rendered.body,
        )

    async def _get(self, name: str) -> TemplateRecord:
        record = await self._store.get(*parse_name(name, "templates"))
        if record is None:
            raise convert.not_found(name, "template")
        return record

    async def _check(self, template: pb.Template) -> None:
        """Refuse a template that could never be sent."""
        if not template.HasField("email") and not template.HasField("webhook"):
            raise invalid_field("template", "must have email or webhook", reason="parts")
        _check_defaults(template)
        source = convert.source_of(template)
        _check_email(template)
        if template.HasField("webhook"):
            self._check_url(source.url)
        try:
            findings = await self._renderer.lint(source)
        except RenderUnavailable as error:
            raise unavailable("renderer") from error
        if findings:
            raise _invalid(findings)

    def _check_url(self, url: str) -> None:
        try:
            target = parse_target(url)
        except ValueError as error:
            raise invalid_field("template.webhook.url", str(error), reason="url") from None
        if not host_allowed(target, self._allowed):
            raise InvalidArgument(
                ErrorReason.ERROR_REASON_HOST_FORBIDDEN,
                f"{target.host}:{target.port} is not on the allow-list of this deployment"
                " (DELIVERY_WEBHOOK_ALLOWED_HOSTS)",
                metadata={"host": f"{target.host}:{target.port}"},
            )

    def _refusal(self, rendered: Rendered) -> MeshError:
        match rendered.fault:
            case Fault.TEMPLATE_TOO_COSTLY:
                return _too_costly()
            case Fault.TOO_LARGE:
                return InvalidArgument(
                    ErrorReason.ERROR_REASON_TOO_LARGE,
                    f"a part is larger than {self._part_bytes_max} bytes",
                    metadata={
                        "limitBytes": str(self._part_bytes_max),
                        "gotBytes": rendered.detail.partition(" ")[0],
                    },
                )
            case Fault.DATA_MISSING:
                return invalid_field("data", f"lacks {rendered.detail}", reason="data_missing")
            case _:
                return InvalidArgument(
                    ErrorReason.ERROR_REASON_TEMPLATE_INVALID,
                    f"does not render with this data: {rendered.fault} {rendered.detail}".strip(),
                    metadata={"line": "", "variables": ""},
                )


def _check_email(template: pb.Template) -> None:
    if not template.HasField("email"):
        return
    if not template.email.sender:
        return
    try:
        Mailbox(template.email.sender, named=True)
    except BadAddress:
        raise invalid_field(
            "template.email.sender", "must be an address or `Name <address>`", reason="sender"
        ) from None


def _as_json(value: Struct | Value, field: str) -> Any:
    try:
        return MessageToDict(value)
    except (SerializeToJsonError, ValueError):
        raise invalid_field(field, "must hold numbers that JSON has", reason="number") from None


def _check_defaults(template: pb.Template) -> None:
    for path, value in template.defaults.items():
        root, _, rest = path.partition(".")
        if root not in {"event", "profile", "digest"} or not rest or not all(rest.split(".")):
            raise invalid_field(
                f"template.defaults[{path!r}]",
                "must be a path like profile.attributes.first_name",
                reason="path",
            )
        _as_json(value, f"template.defaults[{path!r}]")


def _invalid(findings: Sequence[Finding]) -> MeshError:
    if any(finding.costly for finding in findings):
        return _too_costly()
    first = findings[0]
    variables = sorted({name for finding in findings for name in finding.variables})
    return InvalidArgument(
        ErrorReason.ERROR_REASON_TEMPLATE_INVALID,
        f"{first.part}, line {first.line}: {first.problem}",
        metadata={"line": str(first.line), "variables": ", ".join(variables)},
        violations=[
            FieldViolation(
                f"template.{finding.part}",
                f"line {finding.line}: {finding.problem}",
                "template",
            )
            for finding in findings
        ],
    )


def _too_costly() -> MeshError:
    return InvalidArgument(
        ErrorReason.ERROR_REASON_TEMPLATE_TOO_COSTLY,
        "the template takes too much time or memory to render",
        metadata={"limit": "time or memory"},
    )


def _etag_mismatch(name: str) -> Aborted:
    return Aborted(
        ErrorReason.ERROR_REASON_ETAG_MISMATCH,
        "the template has changed; read it again",
        metadata={"resourceName": name},
    )


def _without_etag(template: pb.Template) -> pb.Template:
    bare = pb.Template()
    bare.CopyFrom(template)
    bare.ClearField("etag")
    return bare


def _record(workspace: str, identifier: str, content: bytes, clock: Clock) -> TemplateRecord:
    now = clock.now()
    return TemplateRecord(workspace, identifier, content, convert.etag(content, now), now)
