"""Makes sure that the documentation says what the code does: pages are fresh, and what they name exists."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from subprocess import run
from sys import executable
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(DOCS.glob("*.md")),
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    ROOT / "protos" / "README.md",
]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
SETTING = re.compile(
    r"`((?:BECKON|INGEST|PROFILE|TRIGGER|THROTTLE|DELIVERY|OTEL)_[A-Z_]*[A-Z])(?:=[^`]*)?`"
)
METRIC = re.compile(r"`(beckon_[a-z_]+)")
MAKE = re.compile(r"`make ([a-z0-9]+)")

every_page = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.exists()], ids=lambda page: page.name
)


@cache
def known(page: str) -> set[str]:
    """Return what stands in the first column of a generated page."""
    return set(re.findall(r"^\| `([^`]+)`", (DOCS / page).read_text(), re.MULTILINE))


def test_generated_pages_are_what_the_code_says() -> None:
    command = [executable, str(ROOT / "tools" / "docs.py"), "--check"]

    answer = run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stderr


@every_page
def test_a_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@every_page
def test_a_setting_that_a_page_names_exists(page: Path) -> None:
    named = {name.removesuffix("_FILE") for name in SETTING.findall(page.read_text())}

    assert named - {name.removesuffix("_FILE") for name in known("config.md")} == set()


@every_page
def test_a_metric_that_a_page_names_exists(page: Path) -> None:
    assert set(METRIC.findall(page.read_text())) - known("metrics.md") == set()


@every_page
def test_a_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(MAKE.findall(page.read_text())) - targets == set()


@every_page
def test_a_module_that_a_page_says_to_run_exists(page: Path) -> None:
    modules = re.findall(r"python -m ((?:bench|services|stack|mesh)[\w.]*\w)", page.read_text())

    files = [ROOT / module.replace(".", "/") for module in modules]
    assert [
        str(file) for file in files if not (file.is_dir() or file.with_suffix(".py").exists())
    ] == []


def test_every_field_of_a_campaign_is_explained() -> None:
    page = set(re.findall(r"[a-z_]{2,}", (DOCS / "campaigns.md").read_text()))
    schema = json.loads((DOCS / "schema" / "beckon.schema.json").read_text())

    assert set(fields(schema["$defs"]["Campaign"])) - page == set()


def fields(schema: Any) -> Iterator[str]:
    """Yield the names of all fields of a schema, and of what is in them."""
    if isinstance(schema, list):
        for one in schema:
            yield from fields(one)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        for one in schema.values():
            yield from fields(one)
