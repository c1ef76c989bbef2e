"""Writes requirements/*.txt: every package by version and hash, wheels only, no addresses.

`--upgrade` takes the newest versions that pyproject.toml allows; without it what is locked stays.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path
from subprocess import run

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"
# What a checkout has and the services' image has not.
EXTRAS = ("--extra", "embedded", "--extra", "tables")
# bench is the widest; the others are held to its versions, so that one environment can hold all.
LOCKS = {
    "bench": [*EXTRAS, "--extra", "bench", "--group", "dev"],
    "dev": [*EXTRAS, "--group", "dev", "--constraint", "requirements/bench.txt"],
    "k8s": ["--group", "k8s", "--constraint", "requirements/bench.txt"],
    "run": ["--constraint", "requirements/bench.txt"],
}


def main() -> None:
    """Lock every file, then the installer itself."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true")
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    for name, selection in LOCKS.items():
        lock(name, ["pyproject.toml", *selection, *upgrade])
    lock("uv", ["--group", "installer", "--constraint", "requirements/bench.txt", *upgrade])


def lock(name: str, selection: list[str]) -> None:
    """Write requirements/<name>.txt."""
    options = [
        "--quiet",
        "--universal",
        "--python-version=3.11",
        "--generate-hashes",
        # A source distribution would be built by packages that no hash covers.
        "--only-binary=:all:",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-annotate",
        "--custom-compile-command=make lock",
        f"--output-file=requirements/{name}.txt",
    ]
    run([UV, "pip", "compile", *options, *selection], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
