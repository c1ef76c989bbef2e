"""Makes sure that exported tables say the same in every form, and are whole or not there."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from cli.exports.tables import Column, Document, Kind, output, writer_for
from cli.problems import Problem

ANA: Document = {
    "name": "ana",
    "vip": True,
    "visits": 3,
    "tags": ["a", "b"],
    "trial_end": "2026-01-31T09:00:00Z",
}
BEN: Document = {"name": "ben"}


def of(key: str) -> Any:
    return lambda profile: profile.get(key)


COLUMNS = [
    Column("id", Kind.TEXT, of("name")),
    Column("vip", Kind.BOOLEAN, of("vip")),
    Column("visits", Kind.NUMBER, of("visits")),
    Column("tags", Kind.JSON, of("tags")),
    Column("trial_end", Kind.TIMESTAMP, of("trial_end")),
]


def written(file: Path) -> Path:
    with output(file) as unfinished, writer_for(file, unfinished, COLUMNS) as writer:
        writer.write([ANA])
        writer.write([BEN])
        assert not file.exists()
    return file


def test_lines_hold_the_profiles_as_they_are(tmp_path: Path) -> None:
    file = written(tmp_path / "people.jsonl")

    assert [json.loads(line) for line in file.read_text().splitlines()] == [ANA, BEN]


def test_a_csv_has_a_column_for_each_thing_known(tmp_path: Path) -> None:
    with written(tmp_path / "people.csv").open() as opened:
        found = list(csv.DictReader(opened))

    assert found == [
        {"id": "ana", "vip": "true", "visits": "3", "tags": '["a", "b"]', "trial_end": ANA["trial_end"]},
        {"id": "ben", "vip": "", "visits": "", "tags": "", "trial_end": ""},
    ]  # fmt: skip


def test_a_parquet_file_has_types(tmp_path: Path) -> None:
    table = parquet.read_table(written(tmp_path / "people.parquet"))

    assert table.to_pylist() == [
        {
            "id": "ana",
            "vip": True,
            "visits": 3.0,
            "tags": '["a", "b"]',
            "trial_end": datetime(2026, 1, 31, 9, tzinfo=UTC),
        },
        {"id": "ben", "vip": None, "visits": None, "tags": None, "trial_end": None},
    ]


def test_what_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    with (
        pytest.raises(RuntimeError),
        output(file) as unfinished,
        writer_for(file, unfinished, COLUMNS),
    ):
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot write"), output(tmp_path / "no" / "people.csv"):
        pass
