"""Makes sure that the repository works anywhere: it names no package registry and no folder of one machine."""

import re
from pathlib import Path
from subprocess import run

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Put together, so that this file does not contain what it looks for.
REGISTRIES = [
    name + "." + domain
    for name, domain in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry.npmjs", "org"),
        ("npmjs", "com"),
        ("proxy.golang", "org"),
        ("sum.golang", "org"),
        ("crates", "io"),
        ("deb.debian", "org"),
        ("repo.maven.apache", "org"),
        ("anaconda", "org"),
    )
]
MACHINE = re.compile(r"(?<![\w.-])/(?:work|opt/wheels|root|home/\w+)/[\w.]")
# Copied unchanged; their comments are not ours to reword.
FOREIGN = ("third_party/", "LICENSE")


def committed() -> list[str]:
    """Return the paths of all committed files that are ours."""
    listing = run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        path
        for path in listing.stdout.split("\0")
        if path and not path.startswith(FOREIGN) and (ROOT / path).is_file()
    ]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return {path: (ROOT / path).read_text(errors="replace") for path in committed()}


def test_no_file_names_a_package_registry(texts: dict[str, str]) -> None:
    found = [(path, host) for path, text in texts.items() for host in REGISTRIES if host in text]

    assert found == []


def test_no_file_names_a_folder_of_one_machine(texts: dict[str, str]) -> None:
    found = [(path, match[0]) for path, text in texts.items() if (match := MACHINE.search(text))]

    assert found == []


def test_locks_hold_every_package_by_hash_and_nothing_by_address() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        lines = lock.read_text().splitlines()

        pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
        hashed = [line for line in pinned if line.endswith("\\")]
        assert pinned == hashed, lock.name
        assert all("==" in line for line in pinned), lock.name
        assert not [line for line in lines if "://" in line or line.startswith("--")], lock.name


def test_the_locks_agree_with_each_other() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        # A package that has left an old Python behind has a version for each.
        for name, version, marker in re.findall(
            r"^([\w.-]+)(?:\[\S*\])?==([^\s;]+)([^\\\n]*)", lock.read_text(), re.MULTILINE
        ):
            versions.setdefault((name, marker.strip()), set()).add(version)

    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
