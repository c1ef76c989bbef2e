"""`beckon inbox`: what arrived at the development sinks."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.output import Lines, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from stack.sinks.store import Mail, Webhook

app = typer.Typer(no_args_is_help=True, help="What arrived at the sinks of the local stack.")


@command(
    app,
    "list",
    examples="""
    beckon inbox list --to c-17850@example.com
    beckon inbox list --webhooks --path /crm/big-orders -o json
    beckon inbox list --count
    """,
)
async def list_(
    session: Session,
    *,
    to: Annotated[str, typer.Option("--to", help="Only mails to this address.")] = "",
    path: Annotated[str, typer.Option("--path", help="Only requests on this path.")] = "",
    key: Annotated[
        str, typer.Option("--key", help="Only with this Message-ID or Idempotency-Key.")
    ] = "",
    mails: Annotated[bool, typer.Option("--mails", help="Only mails.")] = False,
    webhooks: Annotated[bool, typer.Option("--webhooks", help="Only webhooks.")] = False,
    refused: Annotated[bool, typer.Option("--refused", help="Those refused, too.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Only how many.")] = False,
    limit: Limit = None,
) -> None:
    """List what arrived, the oldest first, mails before webhooks."""
    from stack.sinks import store

    want_mails = not path and (mails or not webhooks)
    want_webhooks = not to and (webhooks or not mails)
    found_mails = (
        store.list_mails(
            session.stack.mail_store, to=to, message_id=key, refused=refused, limit=limit
        )
        if want_mails
        else []
    )
    found_webhooks = (
        store.list_webhooks(
            session.stack.webhook_store,
            path=path,
            idempotency_key=key,
            refused=refused,
            limit=limit,
        )
        if want_webhooks
        else []
    )
    if count:
        _write_counts(session, len(found_mails), len(found_webhooks))
        return
    lines = Lines(session.output, ("ARRIVED", "KIND", "TO", "WHAT", "KEY"))
    lines.write(found_mails, _mail_row, _mail_document)
    lines.write(found_webhooks, _webhook_row, _webhook_document)
    lines.end("nothing arrived")


def _write_counts(session: Session, mails: int, webhooks: int) -> None:
    if session.json:
        write_json({"mails": mails, "webhooks": webhooks})
    else:
        typer.echo(f"{mails} mails, {webhooks} webhooks")


def _mail_row(mail: "Mail") -> tuple[str, ...]:
    return (
        f"{mail.arrive_time:%H:%M:%S.%f}"[:-3],
        "mail" if mail.accepted else "mail refused",
        " ".join(mail.recipients),
        mail.subject,
        mail.message_id,
    )


def _webhook_row(request: "Webhook") -> tuple[str, ...]:
    return (
        f"{request.arrive_time:%H:%M:%S.%f}"[:-3],
        "webhook" if request.accepted else "webhook refused",
        request.path,
        " ".join(request.body.split())[:100],
        request.idempotency_key,
    )


def _mail_document(mail: "Mail") -> dict[str, object]:
    return {
        "kind": "mail",
        "arrive_time": mail.arrive_time.isoformat(),
        "sender": mail.sender,
        "recipients": list(mail.recipients),
        "subject": mail.subject,
        "message_id": mail.message_id,
        "body": mail.body,
        "headers": mail.headers,
        "accepted": mail.accepted,
    }


def _webhook_document(request: "Webhook") -> dict[str, object]:
    return {
        "kind": "webhook",
        "arrive_time": request.arrive_time.isoformat(),
        "method": request.method,
        "path": request.path,
        "idempotency_key": request.idempotency_key,
        "body": request.body,
        "headers": request.headers,
        "accepted": request.accepted,
    }
