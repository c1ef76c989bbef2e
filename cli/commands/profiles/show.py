"""How profiles, merges and receipts look on a terminal."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from cli.output import as_dict, enum_text, last, time_text, write_json
from cli.session import Session

if TYPE_CHECKING:
    from beckon.profile.v1.erasure_service_pb2 import Erasure
    from beckon.profile.v1.identity_service_pb2 import Merge
    from beckon.profile.v1.profile_service_pb2 import Profile, ProfileEvent

MERGE_COLUMNS = ("MERGE", "FROM", "INTO", "STATE", "BY", "MADE", "UNDONE", "REASON")


def write_profile(session: Session, profile: "Profile") -> None:
    """Show one profile."""
    if session.json:
        write_json(as_dict(profile))
        return
    for label, text in facts(profile):
        typer.echo(f"{label:<10} {text}")


def facts(profile: "Profile") -> Iterator[tuple[str, str]]:
    """Yield what is known of a person, line by line."""
    document = as_dict(profile)
    yield "profile", last(profile.name)
    if profile.member_ids:
        yield "ids", ", ".join(profile.member_ids)
    yield "email", profile.email or "-"
    yield "phone", profile.phone or "-"
    yield "time zone", profile.time_zone or "-"
    yield "locale", profile.locale or "-"
    yield "first seen", time_text(profile.first_seen_time)
    yield "last seen", time_text(profile.last_seen_time)
    for reach in profile.reach:
        yield "reach", f"{enum_text(reach, 'channel')}: {reach.reason or 'yes'}"
    for key, value in sorted(document.get("attributes", {}).items()):
        yield "attribute", f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in sorted(document.get("traits", {}).items()):
        yield "trait", f"{key} = {json.dumps(value)}"
    for type_, counter in sorted(profile.counters.items()):
        yield "counter", f"{type_}: {counter.count}, last {time_text(counter.last_time)}"


def profile_row(profile: "Profile") -> tuple[str, ...]:
    """Return one profile of a list."""
    return (
        last(profile.name),
        str(sum(counter.count for counter in profile.counters.values())),
        time_text(profile.last_seen_time),
        profile.time_zone or "-",
        profile.email or "-",
        ", ".join(sorted(profile.attributes)),
    )


def event_row(event: "ProfileEvent") -> tuple[str, ...]:
    """Return one event of a history."""
    return (
        event.event_id,
        event.type,
        time_text(event.occur_time),
        time_text(event.receive_time),
        json.dumps(as_dict(event)["properties"], ensure_ascii=False) if event.properties else "",
    )


def merge_row(merge: "Merge") -> tuple[str, ...]:
    """Return one merge of a list."""
    return (
        last(merge.name),
        last(getattr(merge, "from")),
        last(merge.into),
        enum_text(merge, "state"),
        enum_text(merge, "origin"),
        time_text(merge.create_time),
        time_text(merge.undo_time),
        merge.reason,
    )


def write_receipt(session: Session, erasure: "Erasure") -> None:
    """Show what an erasure removed where."""
    if session.json:
        write_json(as_dict(erasure))
        return
    for label, text in receipt_facts(erasure):
        typer.echo(f"{label:<14} {text}")


def receipt_facts(erasure: "Erasure") -> Iterator[tuple[str, str]]:
    """Yield a receipt line by line."""
    if erasure.name:
        yield "erasure", last(erasure.name)
        yield "state", enum_text(erasure, "state")
    for removal in erasure.removals:
        yield removal.service, counts_text(dict(removal.counts))
    # What would be removed has no receipt.
    if erasure.name:
        yield "asked for", time_text(erasure.create_time)
        yield "complete", time_text(erasure.complete_time)
        yield "refusing until", time_text(erasure.refuse_until_time)
        yield "refused events", f"{erasure.refused_event_count:,}"
    if erasure.reason:
        yield "reason", erasure.reason


def counts_text(counts: dict[str, Any]) -> str:
    """Return counts by kind: `devices 3, history 120`; what there was none of is left out."""
    found = [f"{kind} {count:,}" for kind, count in sorted(counts.items()) if count]
    return ", ".join(found) or "nothing"
