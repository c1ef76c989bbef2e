"""Makes sure that a process which cannot begin says why, all of it at once, and ends."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("service", "missing"),
    [
        ("ingest", ["BECKON_KEYS_FILE", "BECKON_LOG_URL"]),
        ("profile", ["BECKON_KEYS_FILE", "PROFILE_DATABASE_URL"]),
        ("trigger", ["BECKON_KEYS_FILE", "BECKON_LOG_URL", "TRIGGER_DATABASE_URL"]),
        ("throttle", ["BECKON_KEYS_FILE", "THROTTLE_DATABASE_URL", "THROTTLE_REDIS_URL"]),
        ("delivery", ["BECKON_KEYS_FILE", "DELIVERY_DATABASE_URL"]),
    ],
)
def test_every_missing_setting_is_named_in_one_go(service: str, missing: list[str]) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}

    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    assert [name for name in missing if name not in ended.stdout] == []
