"""Lets in who has a key with the scope of the method and the workspace of the request."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.options.v1 import access_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mesh import callers, names
from mesh.callers import Caller, KeyRing
from mesh.errors import PermissionDenied, Unauthenticated
from mesh.interceptors.middleware import Call, Middleware

# Probes and tools ask these; they reveal nothing of any workspace.
EXEMPT = frozenset(
    {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
)
_BEARER = "bearer "


class NoAccessRule(Exception):
    """A method does not say who may call it; the server does not start."""


def read_access(services: Sequence[str]) -> dict[str, access_pb2.Access]:
    """Return the access rule of every method of the services, by full name.

    Raises:
        NoAccessRule: A method has none, or one whose `workspace_field` is not a
            text field of its request.
    """
    pool = descriptor_pool.Default()
    rules: dict[str, access_pb2.Access] = {}
    problems: list[str] = []
    for full_name in services:
        for method in pool.FindServiceByName(full_name).methods:
            name = f"{full_name}/{method.name}"
            options = method.GetOptions()
            rule = options.Extensions[access_pb2.access]
            if not options.HasExtension(access_pb2.access) or not rule.scope:
                problems.append(f"{name} has no beckon.options.v1.access with a scope")
                continue
            if rule.workspace_field and not _is_text(method.input_type, rule.workspace_field):
                problems.append(f"{name}: {rule.workspace_field} is not a text field")
            rules[name] = rule
    if problems:
        raise NoAccessRule("; ".join(problems))
    return rules


def admit(keys: KeyRing, rules: Mapping[str, access_pb2.Access]) -> Middleware:
    """Return the middleware that asks for a key and holds it to the rule of the method."""

    @asynccontextmanager
    async def admit_call(call: Call) -> AsyncIterator[None]:
        if call.service not in EXEMPT:
            caller = _identify(keys, call)
            callers.enter(caller)
            structlog.contextvars.bind_contextvars(caller=caller.name)
            rule = rules.get(call.method)
            if rule is None or not caller.has_scope(rule.scope):
                raise _scope_missing(caller, rule.scope if rule is not None else "")
            if not rule.workspace_field:
                if not caller.enters_all:
                    raise _workspace_forbidden(caller, callers.ANY)
            else:
                path = tuple(rule.workspace_field.split("."))
                call.checks.append(partial(_check_workspace, caller, path))
        yield

    return admit_call


def _identify(keys: KeyRing, call: Call) -> Caller:
    authorization = call.metadata("authorization")
    if authorization[: len(_BEARER)].lower() != _BEARER:
        raise _unknown("no API key: send `authorization: Bearer <key>`")
    caller = keys.find(authorization[len(_BEARER) :].strip())
    if caller is None:
        raise _unknown("the API key is not known")
    return caller


def _check_workspace(caller: Caller, path: tuple[str, ...], request: Message) -> None:
    value: Message = request
    for step in path[:-1]:
        value = getattr(value, step)
    name: str = getattr(value, path[-1])
    # Also for callers who may enter all: a name of no workspace is never right.
    workspace = names.workspace_of(name, field=".".join(path))
    if not caller.may_enter(workspace):
        raise _workspace_forbidden(caller, workspace)


def _is_text(message: object, path: str) -> bool:
    for step in path.split("."):
        fields = getattr(message, "fields_by_name", None)
        if fields is None or step not in fields:
            return False
        field: FieldDescriptor = fields[step]
        if field.is_repeated:
            return False
        message = field.message_type if field.message_type is not None else field
    return isinstance(message, FieldDescriptor) and message.type == FieldDescriptor.TYPE_STRING


def _unknown(message: str) -> Unauthenticated:
    return Unauthenticated(ErrorReason.ERROR_REASON_CALLER_UNKNOWN, message)


def _scope_missing(caller: Caller, scope: str) -> PermissionDenied:
    return PermissionDenied(
        ErrorReason.ERROR_REASON_SCOPE_MISSING,
        f"the key of {caller.name} lacks the scope {scope}",
        metadata={"caller": caller.name, "scope": scope},
    )


def _workspace_forbidden(caller: Caller, workspace: str) -> PermissionDenied:
    return PermissionDenied(
        ErrorReason.ERROR_REASON_WORKSPACE_FORBIDDEN,
        f"the key of {caller.name} is not for workspace {workspace}",
        metadata={"caller": caller.name, "workspace": workspace},
    )
