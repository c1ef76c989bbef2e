"""Makes sure that rows are read as they stand, whatever the file, and become the patches they say."""

import csv
import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from beckon.profile.v1.profile_service_pb2 import PatchProfilesRequest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from cli.problems import Problem
from cli.tables.mapping import ColumnMap, Unfit, column_map
from cli.tables.relations import relation_in
from cli.tables.rows import Row, form_of, read
from cli.tables.values import LEVELS_MAX, Type, convert

PARENT = "workspaces/main"


def rows_of(file: Path, *, delimiter: str = "") -> list[Row]:
    with read(file, delimiter=delimiter) as table:
        return list(table.rows)


def columns(
    *maps: str, types: list[str] | None = None, operations: list[str] | None = None, whose: str = ""
) -> ColumnMap:
    return column_map(
        maps=maps,
        types=types or [],
        operations=operations or [],
        id_column=whose,
        unset_empty=False,
    )


def patch_of(wanted: ColumnMap, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(
        wanted.patch_of(Row(1, values, 0), PARENT), preserving_proto_field_name=True
    )
    return found


PEOPLE = [{"id": "ana", "tier": "gold"}, {"id": "ben", "tier": 'a, "b"\nc'}]


def as_csv(folder: Path) -> Path:
    file = folder / "people.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as opened:
        writer = csv.DictWriter(opened, ["id", "tier"])
        writer.writeheader()
        writer.writerows(PEOPLE)
    return file


def as_zipped_lines(folder: Path) -> Path:
    file = folder / "people.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in PEOPLE).encode()))
    return file


def as_parquet(folder: Path) -> Path:
    file = folder / "people.parquet"
    parquet.write_table(pa.Table.from_pylist(PEOPLE), file)
    return file


@pytest.mark.parametrize("written", [as_csv, as_zipped_lines, as_parquet])
def test_every_form_says_the_same(written: Callable[[Path], Path], tmp_path: Path) -> None:
    found = rows_of(written(tmp_path))

    assert [dict(row.values) for row in found] == PEOPLE
    assert [(row.number, row.problem) for row in found] == [(1, ""), (2, "")]


def test_a_bad_row_is_one_bad_row(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(b"id,tier\nana,gold\nben\nc\xffd,x\n\ndan,silver,more\neve,gold\n")

    found = rows_of(file)

    assert [row.number for row in found] == [1, 2, 3, 4, 5]
    assert [row.problem.partition(":")[0] for row in found] == [
        "",
        "has 1 fields, the head 2",
        "is not UTF-8",
        "has 3 fields, the head 2",
        "",
    ]


def test_a_quote_that_is_never_closed_does_not_take_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text('id,tier\nana,"gold\n' + "ben,silver\n" * 100_000)

    found = rows_of(file)

    assert "never closed" in found[0].problem


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # All that follows is within the quote, and is said to be.
        (
            'ana,"gold\nben,silver\neve,gold\n',
            ["has a quote that is never closed (lines 2 to 4)"],
        ),
        (
            'ana,"gold\nben,silver\ncleo,"silver"\neve,gold\n',
            ["has text behind a closing quote", ""],
        ),
        ('ana,"go"ld\neve,gold\n', ["has text behind a closing quote", ""]),
        ("ana,go\rld\neve,gold\n", ["has a carriage return outside of quotes", ""]),
    ],
)
def test_a_row_that_is_no_csv_is_refused_and_swallows_none_unseen(
    tmp_path: Path, text: str, problems: list[str]
) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(b"id,tier\n" + text.encode())

    found = rows_of(file)

    assert [row.problem.partition(":")[0] for row in found] == problems


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("people.csv", b"\x89PNG\r\n\x1a\n\x00\x00\xff", "the head is not UTF-8"),
        ("people.csv", b"id\rana\rben\r\x00\n", "the head has a carriage return"),
        ("people.csv", b'id,"tier\nana,gold\n', r"the head .* never closed \(lines 1 to 2\)"),
        ("people.csv", b"x" * 2_000_000, "the head is longer than"),
        ("people.csv", "id\nana\n".encode("utf-16"), "is UTF-16: it must be UTF-8"),
        ("people.csv", b"\xfe\xff" + "id\nana\n".encode("utf-16-be"), "must be UTF-8"),
        ("people.jsonl", '{"id": "ana"}\n'.encode("utf-16"), "must be UTF-8"),
        ("people.csv.gz", b"\x1f\x8b junk, and more of it", "beyond line 0"),
        (
            "people.jsonl.gz",
            gzip.compress(b'{"id": "ana"}\n', mtime=0)[:-9],
            "cannot be read beyond",
        ),
        ("people.csv", b"", "people.csv is empty"),
    ],
)
def test_what_is_no_table_is_a_problem_that_names_the_file(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)

    with pytest.raises(Problem, match=said) as refused:
        rows_of(file)

    assert str(file) in refused.value.message
    assert refused.value.exit_code == 1


def test_parquet_that_breaks_off_says_behind_which_row(tmp_path: Path) -> None:
    file = as_parquet(tmp_path)
    content = bytearray(file.read_bytes())
    content[4:40] = b"\xff" * 36
    file.write_bytes(content)

    with pytest.raises(Problem, match="beyond row 0"):
        rows_of(file)


def test_a_delimiter_is_one_character(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="more than one character"):
        rows_of(as_csv(tmp_path), delimiter="||")


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("levels", [LEVELS_MAX + 1, 600, 5_000])
def test_a_row_nested_too_deep_is_one_bad_row(tmp_path: Path, levels: int) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text(f'{{"id": "ana", "home": {nested(levels)}}}\n{{"id": "ben"}}\n')

    found = rows_of(file)

    assert ["nested deeper" in row.problem for row in found] == [True, False]
    with pytest.raises(ValueError, match="nested deeper"):
        convert(nested(levels), Type.OBJECT)


@pytest.mark.parametrize("within", [nested(LEVELS_MAX), "[" * LEVELS_MAX + "]" * LEVELS_MAX])
def test_a_row_as_deep_as_may_be_can_be_sent(tmp_path: Path, within: str) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text(f'{{"id": "ana", "home": {within}}}\n')

    [row] = rows_of(file)
    request = PatchProfilesRequest(patches=[columns().patch_of(row, PARENT)])

    assert PatchProfilesRequest.FromString(request.SerializeToString()) == request


def test_lines_that_are_no_objects_are_bad_rows(tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_text('{"id": "ana"}\n[1]\nnot json\n\n{"id": "ben"}\n')

    found = rows_of(file)

    assert [bool(row.problem) for row in found] == [False, True, True, False]


def test_a_tab_or_what_is_given_parts_fields(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\ttier\nana\tgold\n")
    (tmp_path / "b.csv").write_text("id;tier\nana;gold\n")

    assert rows_of(tmp_path / "a.tsv")[0].values == {"id": "ana", "tier": "gold"}
    assert rows_of(tmp_path / "b.csv", delimiter=";")[0].values == {"id": "ana", "tier": "gold"}


@pytest.mark.parametrize("content", ["", "id,id\n"])
def test_a_table_without_a_good_head_is_a_problem(tmp_path: Path, content: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text(content)

    with pytest.raises(Problem):
        rows_of(file)


@pytest.mark.parametrize("name", ["people", "people.xlsx", "people.gz"])
def test_a_name_that_tells_nothing_is_a_problem(name: str) -> None:
    with pytest.raises(Problem, match="name does not tell"):
        form_of(Path(name))


def test_what_is_no_parquet_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"
    file.write_text("id,tier\n")

    with pytest.raises(Problem, match="no Parquet file"):
        rows_of(file)


def test_what_parquet_types_becomes_json(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"
    values = {
        "at": datetime(2026, 1, 31, 9, tzinfo=UTC),
        "naive": datetime(2026, 1, 31, 9),  # noqa: DTZ001 — as files have them.
        "day": date(2026, 1, 31),
        "worth": Decimal("12.50"),
        "tags": ["a", "b"],
        "address": {"city": "Porto"},
        "none": None,
    }
    parquet.write_table(pa.Table.from_pylist([values]), file)

    assert dict(rows_of(file)[0].values) == {
        "at": "2026-01-31T09:00:00+00:00",
        "naive": "2026-01-31T09:00:00Z",
        "day": "2026-01-31T00:00:00Z",
        "worth": 12.5,
        "tags": ["a", "b"],
        "address": {"city": "Porto"},
        "none": None,
    }


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (Type.STRING, 17850.0, "17850"),
        (Type.STRING, True, "true"),
        (Type.NUMBER, "12.5", 12.5),
        (Type.NUMBER, 3, 3),
        (Type.BOOLEAN, "Yes", True),
        (Type.BOOLEAN, "0", False),
        (Type.TIMESTAMP, "2026-01-31T09:00:00+01:00", "2026-01-31T08:00:00Z"),
        (Type.TIMESTAMP, "2026-01-31", "2026-01-31T00:00:00Z"),
        (Type.TIMESTAMP, "1769850000", "2026-01-31T09:00:00Z"),
        (Type.TIMESTAMP, 1769850000000, "2026-01-31T09:00:00Z"),
        (Type.LIST, "a|b", ["a", "b"]),
        (Type.LIST, '["a", 1]', ["a", 1]),
        (Type.LIST, 7, [7]),
        (Type.OBJECT, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_cell_becomes_what_its_type_says(wanted: Type, value: Any, expected: Any) -> None:
    assert convert(value, wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (Type.STRING, ["a"]),
        (Type.NUMBER, "twelve"),
        (Type.NUMBER, "nan"),
        (Type.NUMBER, True),
        (Type.BOOLEAN, "maybe"),
        (Type.TIMESTAMP, "tomorrow"),
        (Type.TIMESTAMP, 1e300),
        (Type.LIST, "[1"),
        (Type.OBJECT, "[1]"),
    ],
)
def test_a_cell_that_cannot_be_is_refused(wanted: Type, value: Any) -> None:
    with pytest.raises(ValueError, match=r"is (no|not|neither|a list)"):
        convert(value, wanted)


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_time_is_read_back_as_it_was(moment: datetime) -> None:
    assert datetime.fromisoformat(convert(moment.isoformat(), Type.TIMESTAMP)) == moment


def test_columns_become_attributes_fields_and_operations() -> None:
    wanted = columns(
        "mail=email",
        "note=-",
        "Visits=visit_count",
        types=["Visits=number"],
        operations=["points=increment", "tags=append", "source=set_once"],
        whose="no",
    )

    patch = patch_of(
        wanted, no="17850", mail="a@example.com", note="x", Visits="3", points="2", tags="a|b",
        source="web", tier="gold", empty="",
    )  # fmt: skip

    assert patch == {
        "profile": "workspaces/main/profiles/17850",
        "set": {"email": "a@example.com", "visit_count": 3.0, "tier": "gold"},
        "set_once": {"source": "web"},
        "increment": {"points": 2.0},
        "append": {"tags": ["a", "b"]},
    }


def test_an_empty_cell_takes_away_only_where_that_is_asked_for() -> None:
    wanted = column_map(maps=[], types=[], operations=[], id_column="", unset_empty=True)

    assert patch_of(wanted, id="ana", tier="", email=None)["set"] == {"tier": None, "email": None}


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ({"tier": "gold"}, "id"),
        ({"id": ""}, "id"),
        ({"id": "a/b"}, "id"),
        ({"id": "ana", "points": "x"}, "points"),
    ],
)
def test_a_row_that_makes_no_sense_says_which_column(values: dict[str, Any], column: str) -> None:
    with pytest.raises(Unfit) as refused:
        columns(operations=["points=increment"]).patch_of(Row(1, values, 0), PARENT)

    assert refused.value.column == column


@pytest.mark.parametrize(
    "wrong",
    [
        {"maps": ["mail"]},
        {"maps": ["a=id", "b=id"]},
        {"maps": ["a=id"], "id_column": "b"},
        {"types": ["a=text"]},
        {"operations": ["a=add"]},
        {"operations": ["email=increment"]},
        {"maps": ["a=x", "a=y"]},
    ],
)
def test_what_the_command_line_cannot_mean_is_a_problem(wrong: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        column_map(
            **{
                "maps": [],
                "types": [],
                "operations": [],
                "id_column": "",
                "unset_empty": False,
                **wrong,
            }
        )


def test_a_row_becomes_a_relation_with_its_other_columns_as_attributes() -> None:
    row = Row(1, {"from": "ana", "to": "ben", "since": "2019", "attributes": '{"close": true}'}, 0)

    relation = MessageToDict(relation_in(row, PARENT, "follows"))

    assert relation == {
        "from": "workspaces/main/profiles/ana",
        "kind": "follows",
        "to": "workspaces/main/profiles/ben",
        "attributes": {"close": True, "since": "2019"},
    }


@pytest.mark.parametrize(
    "values",
    [{"from": "ana"}, {"from": "ana", "to": "ben"}, {"from": "ana", "to": "ben", "kind": "Likes"}],
)
def test_a_row_that_is_no_relation_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(Unfit):
        relation_in(Row(1, values, 0), PARENT, "")


@pytest.mark.parametrize("file_of", [as_csv, as_parquet])
def test_a_table_says_its_columns_before_its_rows(
    tmp_path: Path, file_of: Callable[[Path], Path]
) -> None:
    with read(file_of(tmp_path)) as table:
        assert list(table.columns or ()) == ["id", "tier"]


def test_columns_that_somebody_named_have_to_be_there() -> None:
    wanted = columns("mail=email", types=["visits=number"], operations=["points=increment"])

    assert wanted.mentioned() == {"id", "mail", "visits", "points"}
