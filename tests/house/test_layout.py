"""Makes sure that who knows one service finds their way in all of them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("ingest", "profile", "trigger", "throttle", "delivery")
ROOMS = {"__init__", "__main__", "config", "model", "rules", "convert", "store", "servicer"}
MAY_HAVE = {"worker", "clients", "providers", "render", "migrations", "__pycache__"}
CODE = ("mesh", "services", "simulator", "stack", "cli", "tests", "bench", "tools")
PURE = ("rules", "model")


def modules(*tops: str) -> list[Path]:
    """Return every Python file below the folders `tops`."""
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def relative(path: Path) -> str:
    """Return how `path` is written from the root, for messages."""
    return str(path.relative_to(ROOT))


def rooms(service: str) -> set[str]:
    """Return the rooms of `service`, files and folders alike."""
    folder = ROOT / "services" / service
    python = {path.stem for path in folder.glob("*.py")}
    return python | {path.name for path in folder.iterdir() if path.is_dir()}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_rooms_of_all_services(service: str) -> None:
    assert rooms(service) >= ROOMS


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_room_of_its_own_invention(service: str) -> None:
    assert rooms(service) - ROOMS - MAY_HAVE == set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_room_is_a_file_or_a_folder_and_never_both(service: str) -> None:
    folder = ROOT / "services" / service
    both = [
        name
        for name in ROOMS | MAY_HAVE
        if (folder / f"{name}.py").exists() and (folder / name).is_dir()
    ]

    assert both == []


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_are_numbered_without_gaps(service: str) -> None:
    names = sorted(path.name for path in (ROOT / "services" / service / "migrations").glob("*.sql"))

    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name) for name in names), names
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


@pytest.mark.parametrize("path", modules(*CODE), ids=relative)
def test_a_module_says_in_one_sentence_what_is_inside(path: Path) -> None:
    text = path.read_text()
    if not text.strip():
        return

    docstring = ast.get_docstring(ast.parse(text))

    assert docstring, "no docstring"
    assert docstring.split("\n\n")[0].rstrip().endswith((".", "`", "?")), "no sentence"


@pytest.mark.parametrize(
    "path",
    [path for path in modules("services") if set(PURE) & {path.stem, path.parent.name}],
    ids=relative,
)
def test_rules_and_models_never_wait(path: Path) -> None:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)

    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, waiting)]

    assert found == []


@pytest.mark.parametrize("path", modules("mesh", "services"), ids=relative)
def test_the_environment_is_read_where_a_process_begins_and_nowhere_else(path: Path) -> None:
    if relative(path) == "mesh/process.py":
        return

    reads = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]

    assert reads == []


@pytest.mark.parametrize("path", modules("mesh", "services"), ids=relative)
def test_only_the_error_interceptor_aborts(path: Path) -> None:
    aborts = [
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"abort", "abort_with_status"}
        # Breaking off a connection is another matter.
        and not ast.unparse(node.func.value).endswith("transport")
    ]

    # A forgotten `await` before `abort` answers OK: one place is one place to look.
    assert not aborts or relative(path) == "mesh/interceptors/errors.py"


@pytest.mark.parametrize("path", modules("tests"), ids=relative)
def test_no_test_sleeps(path: Path) -> None:
    tests = (
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )

    # Waiting is `await eventually(...)`; sleep(0) only lets others run.
    sleeps = [
        call.lineno
        for test in tests
        for call in ast.walk(test)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).split(".")[-1] == "sleep"
        and [ast.unparse(argument) for argument in call.args] != ["0"]
    ]
    assert sleeps == []
