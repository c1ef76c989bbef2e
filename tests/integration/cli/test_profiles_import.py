"""Makes sure that tables of any size come in, in little memory, each row once, whatever happens."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.integration.cli.conftest import Beckon
from tests.waiting import eventually

# Enough that holding them all would show.
MANY = 80_000
# What reading and sending may need, as it is not to depend on how many there are.
_MORE_MEGABYTES = 15
# By the process itself: what the system reports of a child begins with the size of its parent.
_MEASURED = """
import runpy
try:
    runpy.run_module("cli", run_name="__main__", alter_sys=True)
finally:
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def table(folder: Path, text: str, name: str = "people.csv") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def started(beckon: Beckon, *arguments: str, run: tuple[str, ...] = ("-m", "cli")) -> Popen[str]:
    """Start a command in a process of its own."""
    environ = {"BECKON_STATE": str(beckon.folder), "BECKON_WORKSPACE": beckon.workspace}
    command = [sys.executable, *run, *arguments]
    return Popen(command, env=os.environ | environ, stdout=PIPE, stderr=PIPE, text=True)


def batches_done(progress: Path, count: int) -> Callable[[], bool]:
    """Return whether so many batches of an import are done, to be asked."""
    return lambda: progress.exists() and json.loads(progress.read_bytes())["done_to"] >= count


def attributes(beckon: Beckon) -> dict[str, dict[str, Any]]:
    """Return what is known of everybody."""
    return {
        one["name"].rpartition("/")[2]: one.get("attributes", {})
        for one in beckon("profiles", "list", "-o", "json").documents
    }


def test_columns_become_what_they_are_said_to_be(beckon: Beckon, tmp_path: Path) -> None:
    file = table(
        tmp_path,
        "customer;mail;Visits;vip;since;tags;note\n"
        "17850;ana@example.com;3;yes;2019-05-01;red|white;x\n"
        "17851;;;no;;;\n",
    )
    how = [
        *("--id", "customer", "--map", "mail=email", "--map", "Visits=visits", "--map", "note=-"),
        *("--type", "Visits=number", "--type", "vip=boolean", "--type", "since=timestamp"),
        *("--operation", "tags=append", "--delimiter", ";"),
    ]

    dry = beckon("profiles", "import", file, *how, "--dry-run", "-o", "json").document
    nobody = beckon("profiles", "list", "-o", "json").stdout
    answer = beckon("profiles", "import", file, *how)

    assert (dry["created_count"], dry["dry_run"], nobody) == (2, True, "")
    assert "2 rows: 2 profiles created, 0 updated, 0 unchanged, 0 refused" in answer.stdout
    assert attributes(beckon) == {
        "17850": {
            "visits": 3,
            "vip": True,
            "since": "2019-05-01T00:00:00Z",
            "tags": ["red", "white"],
        },
        "17851": {"vip": False},
    }
    assert beckon("profiles", "get", "17850", "-o", "json").document["email"] == "ana@example.com"


def test_refused_rows_are_named_and_all_others_are_in(beckon: Beckon, tmp_path: Path) -> None:
    beckon("attributes", "create", "visits", "--type", "number")
    file = table(tmp_path, 'id,visits,email\nana,,\n,1,\nben,3,\ncleo,,nowhere\ndan,"4\n')
    errors = tmp_path / "errors.jsonl"

    answer = beckon("profiles", "import", file, "--errors", str(errors), code=1)

    assert "rows were refused; all others are in" in answer.stderr
    refused = {one["row"]: one for one in map(json.loads, errors.read_text().splitlines())}
    assert (refused[2]["where"], refused[2]["reason"]) == ("id", "ROW_INVALID")
    assert refused[3]["reason"] == "ATTRIBUTE_TYPE_CONFLICT"
    assert refused[3]["values"] == {"id": "ben", "visits": "3", "email": ""}
    assert "email" in refused[4]["message"] + refused[4]["where"]
    assert set(attributes(beckon)) == {"ana"}
    again = beckon("profiles", "import", file, "--errors", str(errors), code=1)
    assert "by an earlier run" in again.stderr
    assert len(errors.read_text().splitlines()) == len(refused)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("people.csv", b"\x89PNG\r\n\x1a\n\x00\xff", "people.csv: the head is not UTF-8"),
        ("people.csv", "id\nana\n".encode("utf-16"), "people.csv is UTF-16: it must be UTF-8"),
        ("people.csv.gz", b"\x1f\x8b\x08 junk, and more of it", "people.csv.gz cannot be read"),
        ("people.csv", b'id,tier\nana,"gold\nben,\n', "row 1: has a quote that is never closed"),
        ("people.jsonl", b'{"a":' * 5_000, "row 1: has a value that is nested deeper"),
    ],
)
def test_what_is_no_table_is_said_in_words(
    beckon: Beckon, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)

    answer = beckon("profiles", "import", str(tmp_path / name), code=1)

    assert said in answer.stderr
    assert "error: " in answer.stderr
    assert attributes(beckon) == {}


@pytest.mark.parametrize("how", [("--map", "mial=email"), ("--id", "nobody")])
def test_a_misspelt_column_is_no_empty_one(
    beckon: Beckon, tmp_path: Path, how: tuple[str, str]
) -> None:
    file = table(tmp_path, "id,mail\nana,ana@example.com\n")

    answer = beckon("profiles", "import", file, *how, code=2)

    assert "has no column" in answer.stderr
    assert "it has id, mail" in answer.stderr
    assert attributes(beckon) == {}


def test_an_import_repeated_counts_nothing_twice(beckon: Beckon, tmp_path: Path) -> None:
    file = table(tmp_path, "id,points\n" + "".join(f"p-{n % 10},1\n" for n in range(100)))
    how = (
        "profiles",
        "import",
        file,
        "--operation",
        "points=increment",
        "--batch",
        "7",
        "-o",
        "json",
    )

    first = beckon(*how).document
    again = beckon(*how).document
    Path(f"{file}.import").unlink()
    forgotten = beckon(*how).document

    assert (first["rows"], first["created_count"]) == (100, 10)
    assert again["earlier_rows"] == 100
    assert forgotten["created_count"] == 10
    assert set(map(str, attributes(beckon).values())) == {"{'points': 10}"}
    beckon(*how, "--anew")
    assert set(map(str, attributes(beckon).values())) == {"{'points': 20}"}


def test_an_import_stopped_or_killed_goes_on_and_counts_every_row_once(
    beckon: Beckon, tmp_path: Path
) -> None:
    count = 20_000
    file = table(tmp_path, "id,points\n" + "".join(f"p-{n % 5000},1\n" for n in range(count)))
    progress = Path(f"{file}.import")
    how = ("profiles", "import", file, "--operation", "points=increment", "--batch", "100")

    said = {}
    for done, by in ((10, signal.SIGINT), (60, signal.SIGKILL)):
        process = started(beckon, *how)
        asyncio.run(eventually(batches_done(progress, done)))
        process.send_signal(by)
        _, said[by] = process.communicate()
    before = json.loads(progress.read_bytes())
    last = beckon(*how, "-o", "json").document

    assert "the same command goes on from there" in said[signal.SIGINT]
    assert "Traceback" not in said[signal.SIGINT]
    assert 0 < before["done_to"] < count // 100
    assert (last["rows"], last["created_count"]) == (count, 5000)
    assert last["earlier_rows"] == before["counts"]["rows"]
    found = Counter(str(one) for one in attributes(beckon).values())
    assert found == {"{'points': 4}": 5000}


@pytest.mark.timeout(240)
def test_a_large_table_takes_no_more_memory_than_a_small_one(
    beckon: Beckon, tmp_path: Path
) -> None:
    small = parquet_of(tmp_path / "small.parquet", 20_000)
    large = parquet_of(tmp_path / "large.parquet", MANY)

    few, many = (megabytes(beckon, "profiles", "import", file) for file in (small, large))

    assert many < few + _MORE_MEGABYTES, (few, many)
    counted = beckon("segments", "count", "profile.attributes.visits >= 0.0", "-o", "json").document
    assert int(counted["count"]) == MANY


def parquet_of(file: Path, count: int) -> str:
    """Write a table of so many people, in row groups of usual size."""
    ids, visits = [f"p-{number}" for number in range(count)], [*range(count)]
    parquet.write_table(pa.table({"id": ids, "visits": visits}), file, row_group_size=50_000)
    return str(file)


def megabytes(beckon: Beckon, *arguments: str) -> float:
    """Run a command to its good end; return the most memory it took."""
    process = started(beckon, *arguments, run=("-c", _MEASURED))
    said, complaint = process.communicate()
    assert process.returncode == 0, complaint
    return int(said.split()[-1]) / 1024


def test_relations_come_in_from_a_table(beckon: Beckon, tmp_path: Path) -> None:
    rows = [
        f'{{"from": "p-{n}", "to": "ana", "close": {json.dumps(n % 2 == 0)}}}' for n in range(50)
    ]
    file = table(tmp_path, "\n".join([*rows, '{"from": "ben"}', rows[0]]), "follows.jsonl")

    answer = beckon("relations", "import", file, "--kind", "follows", "--batch", "20", code=1)

    assert "52 rows: 50 relations created, 0 updated, 1 unchanged, 1 refused" in answer.stdout
    assert "row 51" in answer.stderr
    close = ("--filter", "relation.attributes.close == true")
    related = beckon("relations", "related", "ana", "follows", "--incoming", *close, "-o", "json")
    assert len(related.documents) == 25
