"""What a command says when it cannot do what it was asked: what, why, and what would help."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import grpc.aio

    from mesh.errors import FieldViolation, MeshError

REFUSED = 1
USAGE = 2


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing that is wrong, and where."""

    where: str
    """A field, or a place in a file as editors understand it: `file:line:column`."""
    what: str


class Problem(Exception):
    """A command failed. The text is for the person at the keyboard, the reason for programs."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        hint: str = "",
        details: Sequence[Detail] = (),
        exit_code: int = REFUSED,
    ) -> None:
        """Take one line, and what else is known."""
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint
        self.details = tuple(details)
        self.exit_code = exit_code


def usage(message: str, *, hint: str = "") -> Problem:
    """Return the problem of a command line that asks for the impossible."""
    return Problem(message, reason="USAGE", hint=hint, exit_code=USAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a service answered instead of doing what it was asked."""

    code: str
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence["FieldViolation"] = ()


def refusal_of(error: "grpc.aio.AioRpcError") -> Refusal:
    """Read a refusal out of gRPC's error."""
    from mesh.errors import metadata_of, reason_of, violations_of

    return Refusal(
        code=error.code().name,
        reason=reason_of(error),
        message=error.details() or error.code().name,
        metadata=metadata_of(error),
        violations=violations_of(error),
    )


def refusal_of_ours(error: "MeshError") -> Refusal:
    """Return what we found wrong ourselves, by the rules that services have, as a refusal."""
    from beckon.errors.v1.error_reason_pb2 import ErrorReason

    return Refusal(
        code="INVALID_ARGUMENT",
        reason=ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_"),
        message=error.message,
        metadata=error.metadata,
        violations=error.violations,
    )


def explain(refusal: Refusal, *, service: str = "") -> Problem:
    """Return what a refusal means for who sits at the keyboard."""
    hint = (
        _HINTS.get(refusal.reason)
        or _HINTS_BY_CODE.get(refusal.code)
        or next((hint for end, hint in _HINTS_BY_PATTERN.items() if end in refusal.message), "")
    )
    if refusal.reason == "STATE_FORBIDS" and "allowedStates" not in refusal.metadata:
        hint = ""  # No state would allow it; the message says why.
    message = refusal.message
    if not refusal.reason and refusal.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
        # gRPC's own words: addresses, errno and the like.
        message = f"{service or 'the service'} does not answer ({refusal.message})"
    details = [
        Detail(one.field, one.description.removeprefix(f"{one.field}: "))
        for one in refusal.violations
    ]
    return Problem(
        message,
        reason=refusal.reason or refusal.code,
        hint=hint.format_map(_Blank(refusal.metadata)),
        details=[one for one in details if f"{one.where}: {one.what}" != message],
    )


def tell(problem: Problem, *, as_json: bool) -> None:
    """Write a problem to stderr."""
    if as_json:
        details = [{"where": one.where, "what": one.what} for one in problem.details]
        content = {
            "reason": problem.reason,
            "message": problem.message,
            "hint": problem.hint,
            "details": details,
        }
        sys.stderr.write(json.dumps({"error": content}, ensure_ascii=False) + "\n")
        return
    reason = f" [{problem.reason}]" if problem.reason else ""
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(problem.message + typer.style(reason, dim=True), err=True)
    for detail in problem.details:
        typer.echo(f"  {detail.where}: {detail.what}", err=True)
    if problem.hint:
        typer.secho("hint: ", fg="cyan", nl=False, err=True)
        typer.echo(problem.hint, err=True)


class _Blank(dict[str, str]):
    """Metadata, with a dash for what a service did not send."""

    def __missing__(self, key: str) -> str:
        return "-"


_HINTS: Mapping[str, str] = {
    "RESOURCE_NOT_FOUND": "is the name right, and --workspace? `... list` shows what there is",
    "CALLER_UNKNOWN": "give a key with --key-file, or name the folder of a stack with --stack",
    "SCOPE_MISSING": "the key of `{caller}` needs the scope `{scope}`",
    "WORKSPACE_FORBIDDEN": "the key of `{caller}` is not for workspace `{workspace}`: --workspace?",
    "STATE_FORBIDS": "it is {state}; allowed: {allowedStates}",
    "ETAG_MISMATCH": "somebody else changed it meanwhile: run the command again",
    "CONFLICT": "somebody else was faster: run the command again",
    "DEPENDENCY_UNAVAILABLE": "{dependency} is away: try again, or look at `beckon status`",
    "EVENT_ID_REUSED": "an id is for one event: give the other event another id",
    "INTERNAL": "a bug: look for error id {errorId} in the service's log (`beckon status`)",
    "HOST_FORBIDDEN": "let the deployment's allow-list name {host}",
    "QUOTA_EXCEEDED": "send more slowly",
    "ATTRIBUTE_TYPE_CONFLICT": "`beckon attributes list` shows the types; KEY:=3 is a number,"
    " KEY=3 is text; in an import --type COLUMN=… converts",
    "PERSON_ERASED": "who was erased stays so until the receipt says; take another id",
    "REQUEST_ID_REUSED": "what was imported under this progress was another file: --anew",
    "TOO_MANY_IDS": "at most 100 ids are one person: `beckon profiles merges` shows hers",
}

# What a service says of an id that is none ends with the pattern; these are its words.
_HINTS_BY_PATTERN: Mapping[str, str] = {
    "[0-9a-f-]{36}$`": "its id has 36 characters; whatever lists such things shows it",
    "[a-z][a-z0-9-]{0,62}$`": "an id is a-z, 0-9 and -, begins with a letter, has at most 63",
    "[a-z][a-z0-9_]{0,62}$`": "an id is a-z, 0-9 and _, begins with a letter, has at most 63",
}

_HINTS_BY_CODE: Mapping[str, str] = {
    "UNAVAILABLE": "does it run? `beckon status` tells; `beckon up` starts a stack",
    "DEADLINE_EXCEEDED": "it may be overloaded: `beckon status`, then try again",
    "RESOURCE_EXHAUSTED": "a smaller --batch, where the call was too large",
    "UNIMPLEMENTED": "is the target the right service?",
}
