"""Items of `beckon campaigns trigger`: from options, or from a file of JSON lines."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.problems import usage
from cli.session import Session

if TYPE_CHECKING:
    from beckon.trigger.v1.campaign_service_pb2 import TriggerCampaignRequest
    from google.rpc.status_pb2 import Status


def items_of(
    session: Session, file: Path | None, profile: str, event_id: str, properties: str
) -> "list[TriggerCampaignRequest.Item]":
    """Return what is asked for."""
    if file is not None:
        return [_item(session, said, f"{file}:{at}") for at, said in _lines(file)]
    if not profile or not event_id:
        raise usage("--profile and --id say who and under which id; or --file says it of many")
    said = {"profile": profile, "event_id": event_id, "properties": _object(properties, "it")}
    return [_item(session, said, "--properties")]


def refused_of(
    items: "Iterable[TriggerCampaignRequest.Item]", statuses: "Iterable[Status]"
) -> list[tuple[str, str]]:
    """Return the ids of what did not begin, and why."""
    return [
        (item.event_id, status.message)
        for item, status in zip(items, statuses, strict=True)
        if status.code
    ]


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for at, line in enumerate(file.read_text().splitlines(), 1):
        if line.strip():
            yield at, _object(line, f"{file}:{at}")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise usage(f"{where} is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise usage(f"{where} is no JSON object")
    return said


def _item(session: Session, said: dict[str, Any], where: str) -> "TriggerCampaignRequest.Item":
    from beckon.trigger.v1.campaign_service_pb2 import TriggerCampaignRequest

    try:
        item = TriggerCampaignRequest.Item(
            event_id=said["event_id"], profile=session.name("profiles", said["profile"])
        )
        item.properties.update(said.get("properties", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise usage(f"{where} must have profile, event_id and properties: {error}") from error
    return item
