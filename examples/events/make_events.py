"""Turns order lines of the Online Retail data into events, as Beckon takes them.

    python examples/events/make_events.py online-retail.csv --events 20000 > events.jsonl

Reads CSV (gzipped or not) with InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice,
CustomerID, Country. Writes JSON Lines in the order of time:

* each customer's first appearance is a `profile_updated` with country and IANA zone;
* each line is an `item_added_to_cart`, one second after the line before, with the cart's running
  value; whatever the data says is kept: empty descriptions, prices of zero, quantities below it;
* each invoice is an `order_placed` at its time, or an `order_cancelled` where its number begins
  with C.

An invoice without a customer gets a profile of its own. Ids follow from invoice and line, so that
making the file again makes the same events.
"""

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

SHOP_ZONE = ZoneInfo("Europe/London")

ZONES = {
    "Australia": "Australia/Sydney",
    "Austria": "Europe/Vienna",
    "Bahrain": "Asia/Bahrain",
    "Belgium": "Europe/Brussels",
    "Channel Islands": "Europe/Jersey",
    "Cyprus": "Asia/Nicosia",
    "Denmark": "Europe/Copenhagen",
    "EIRE": "Europe/Dublin",
    "Finland": "Europe/Helsinki",
    "France": "Europe/Paris",
    "Germany": "Europe/Berlin",
    "Iceland": "Atlantic/Reykjavik",
    "Israel": "Asia/Jerusalem",
    "Italy": "Europe/Rome",
    "Japan": "Asia/Tokyo",
    "Lithuania": "Europe/Vilnius",
    "Netherlands": "Europe/Amsterdam",
    "Norway": "Europe/Oslo",
    "Poland": "Europe/Warsaw",
    "Portugal": "Europe/Lisbon",
    "Spain": "Europe/Madrid",
    "Sweden": "Europe/Stockholm",
    "Switzerland": "Europe/Zurich",
    "United Kingdom": "Europe/London",
}

Row = dict[str, str]
Event = dict[str, Any]


def read_invoices(file: Path) -> Iterator[list[Row]]:
    """Yield the lines of each invoice, in the order of the file."""
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8", newline="") as text:
        lines: list[Row] = []
        for row in csv.DictReader(text):
            if lines and row["InvoiceNo"] != lines[0]["InvoiceNo"]:
                yield lines
                lines = []
            lines.append(row)
        if lines:
            yield lines


def events_of(lines: list[Row]) -> Iterator[tuple[datetime, Event]]:
    """Yield the events of one invoice with their instants."""
    first = lines[0]
    number, profile = first["InvoiceNo"], profile_of(first)
    ordered = datetime.fromisoformat(first["InvoiceDate"]).replace(tzinfo=SHOP_ZONE)
    value, items = 0.0, 0
    for index, row in enumerate(lines, start=1):
        quantity, price = int(row["Quantity"]), float(row["UnitPrice"])
        value, items = value + quantity * price, items + quantity
        properties = {
            "order_id": number,
            "sku": row["StockCode"],
            "description": row["Description"],
            "quantity": quantity,
            "price": price,
            "cart_value": round(value, 2),
        }
        when = ordered - timedelta(seconds=len(lines) + 1 - index)
        identifier = f"{number}-{index:03}"
        yield when, event(identifier, "item_added_to_cart", profile, when, properties)
    placed = "order_cancelled" if number.startswith("C") else "order_placed"
    properties = {
        "order_id": number,
        "value": round(value, 2),
        "items": items,
        "lines": len(lines),
        "country": first["Country"],
    }
    yield ordered, event(number, placed, profile, ordered, properties)


def profile_of(row: Row) -> str:
    """Return the customer's profile id, or one for the invoice alone."""
    customer = row["CustomerID"].removesuffix(".0")
    return f"c-{customer}" if customer else f"anonymous-{row['InvoiceNo']}"


def event(
    identifier: str, kind: str, profile: str, when: datetime, properties: dict[str, Any]
) -> Event:
    """Return an event as a line of JSON Lines."""
    return {
        "event_id": identifier,
        "type": kind,
        "profile": profile,
        "occur_time": f"{when.astimezone(ZoneInfo('UTC')):%Y-%m-%dT%H:%M:%SZ}",
        "properties": properties,
    }


def make(invoices: Iterable[list[Row]], *, at_least: int) -> list[Event]:
    """Return the events of whole invoices, until there are enough, in the order of time."""
    found: list[tuple[datetime, Event]] = []
    known: set[str] = set()
    for lines in invoices:
        if len(found) >= at_least:
            break
        own = list(events_of(lines))
        begin, first = own[0]
        profile = first["profile"]
        if profile not in known:
            known.add(profile)
            country = lines[0]["Country"]
            facts = {"country": country, "time_zone": ZONES[country]}
            when = begin - timedelta(seconds=1)
            own.insert(
                0, (when, event(f"profile-{profile}", "profile_updated", profile, when, facts))
            )
        found += own
    # Sorting is stable: what happened in the same second stays in the order of the data.
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def main() -> None:
    """Read the command line, write to the standard output."""
    parser = argparse.ArgumentParser(description="Order lines to events.")
    parser.add_argument("csv", type=Path, help="Online Retail data as CSV")
    parser.add_argument("--events", type=int, default=20_000, help="stop after about so many")
    chosen = parser.parse_args()
    for one in make(read_invoices(chosen.csv), at_least=chosen.events):
        sys.stdout.write(json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
