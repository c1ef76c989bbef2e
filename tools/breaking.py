"""Compares protos/ with the last release, or else with main, and refuses what breaks callers."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"


def main() -> int:
    """Compare; return the exit code."""
    base = released() or mainline()
    if base is None or git("cat-file", "-e", f"{base}:buf.yaml") is None:
        print("breaking: skipped, there is no release and no other main to compare with")
        return 0
    print(f"breaking: against {base}")
    # Not simply .git: in a second worktree that is a file.
    folder = git("rev-parse", "--path-format=absolute", "--git-common-dir")
    against = f"{folder}#format=git,ref={base}"
    return subprocess.run([BUF, "breaking", "--against", against], cwd=ROOT, check=False).returncode


def released() -> str | None:
    """Return the newest release tag behind HEAD."""
    return git("describe", "--tags", "--abbrev=0", "--match", "v*")


def mainline() -> str | None:
    """Return the commit of main, unless it is the one that is checked out."""
    head = git("rev-parse", "HEAD")
    for branch in ("origin/main", "main"):
        commit = git("rev-parse", "--verify", "--quiet", branch)
        if commit is not None and commit != head:
            return commit
    return None


def git(*arguments: str) -> str | None:
    """Return what git says, or None where it says no."""
    answer = subprocess.run(
        ["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )
    return answer.stdout.strip() if answer.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
