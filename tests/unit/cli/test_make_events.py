"""Makes sure that order lines become the events their script promises."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "events" / "make_events.py"
HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("make_events", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_become_a_cart_that_grows_and_an_order(script: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(
        HEAD
        + "1,A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,Norway\n"
        + "1,B,,-2,2010-12-01 08:26:00,1.0,17850.0,Norway\n"
    )

    events = script.make(script.read_invoices(file), at_least=100)

    assert [one["type"] for one in events] == [
        "profile_updated",
        "item_added_to_cart",
        "item_added_to_cart",
        "order_placed",
    ]
    assert {one["profile"] for one in events} == {"c-17850"}
    assert events[0]["properties"] == {"country": "Norway", "time_zone": "Europe/Oslo"}
    assert [one["properties"]["cart_value"] for one in events[1:3]] == [15.3, 13.3]
    assert events[2]["properties"]["quantity"] == -2
    assert events[3]["properties"] == {
        "order_id": "1",
        "value": 13.3,
        "items": 4,
        "lines": 2,
        "country": "Norway",
    }
    assert [one["occur_time"] for one in events] == [
        "2010-12-01T08:25:57Z",
        "2010-12-01T08:25:58Z",
        "2010-12-01T08:25:59Z",
        "2010-12-01T08:26:00Z",
    ]


def test_a_cancelled_invoice_is_no_order(script: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(HEAD + "C1,A,HEART,-6,2010-12-01 08:26:00,2.55,,EIRE\n")

    events = script.make(script.read_invoices(file), at_least=100)

    assert events[-1]["type"] == "order_cancelled"
    assert events[-1]["profile"] == "anonymous-C1"
