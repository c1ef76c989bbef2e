"""Tries `beckon migrate` as a rollout runs it: with the settings of one service, in files."""

import sys
from pathlib import Path
from subprocess import CompletedProcess, run

ROOT = Path(__file__).resolve().parents[2]


def migrate(*services: str, **environ: str) -> CompletedProcess[str]:
    """Run the command with nothing else in its environment."""
    command = [sys.executable, "-m", "cli", "migrate", *services]
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    return run(command, cwd=ROOT, env=paths | environ, capture_output=True, text=True, check=False)


def test_schemas_are_brought_up_to_date_once(postgres_url: str, tmp_path: Path) -> None:
    secret = tmp_path / "database-url"
    secret.write_text(f"{postgres_url}\n")

    first = migrate("trigger", TRIGGER_DATABASE_URL_FILE=str(secret))
    again = migrate("trigger", TRIGGER_DATABASE_URL_FILE=str(secret))

    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("trigger: 0001_")
    assert again.stdout == "trigger: up to date\n"


def test_every_missing_setting_is_named_at_once() -> None:
    answer = migrate()

    assert answer.returncode == 1
    for service in ("PROFILE", "TRIGGER", "THROTTLE", "DELIVERY"):
        assert f"{service}_DATABASE_URL is not set" in answer.stderr


def test_a_service_without_a_database_is_refused() -> None:
    answer = migrate("ingest")

    assert answer.returncode == 2
    assert "no database of ingest" in answer.stderr


def test_a_database_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    answer = migrate("profile", PROFILE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")

    assert answer.returncode == 1
    assert "not available" in answer.stderr
