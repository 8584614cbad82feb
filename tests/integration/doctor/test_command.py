"""`sluice doctor` as an operator runs it: lines, JSON, exit status, and no secrets."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

Run = Callable[..., Result]


@pytest.fixture
def doctor(migrated_sqlite: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    shutil.copy(migrated_sqlite, tmp_path / "sluice.db")
    (tmp_path / "storage").mkdir()
    healthy = {
        "SLUICE_DATABASE_URL": f"sqlite:///{tmp_path / 'sluice.db'}",
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_STORAGE_URL": f"file://{tmp_path / 'storage'}",
        "SLUICE_MIN_FREE_BYTES": "1",
        "SLUICE_HEALTH_PORT": "0",
    }

    monkeypatch.setattr("cli.doctor.command.configure_logging", lambda settings: None)  # it is for a whole process

    def run(*arguments: str, **settings: str) -> Result:
        return CliRunner().invoke(app, ["doctor", "--port", "0", *arguments], env=healthy | settings)

    return run


def test_as_a_process_it_says_nothing_but_its_lines(tmp_path: Path) -> None:
    settings = {"SLUICE_DATABASE_URL": f"sqlite:///{tmp_path / 'no.db'}", "SLUICE_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "cli.main", "doctor"]
    told = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (1, "")
    assert {line.split()[0] for line in told.stdout.splitlines()} == {"ok", "warn", "FAIL"}


def test_a_healthy_service_is_status_0_with_a_line_for_each_check(doctor: Run) -> None:
    told = doctor()
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warn") for line in lines)
    assert {line.split()[1].split(".")[0] for line in lines} == {"settings", "machine", "database", "redis", "storage"}


def test_each_line_as_json_has_the_check_the_verdict_what_was_seen_and_what_to_do(doctor: Run) -> None:
    rows = [json.loads(line) for line in doctor("--json").stdout.splitlines()]
    assert all(set(row) == {"check", "verdict", "said", "do"} for row in rows)
    assert all(bool(row["do"]) == (row["verdict"] != "ok") for row in rows)


def test_something_wrong_is_status_1_and_the_rest_is_looked_at_all_the_same(doctor: Run) -> None:
    told = doctor(SLUICE_REDIS_URL="redis://:top-secret@127.0.0.1:1/0")
    assert told.exit_code == 1
    assert [line.split()[1] for line in told.stdout.splitlines() if line.startswith("FAIL")] == ["redis.reachable"]
    assert "ok    database.schema" in told.stdout
    assert "secret" not in told.stdout + told.stderr


def test_settings_that_are_wrong_are_a_line_each(doctor: Run) -> None:
    told = doctor(SLUICE_DATABASE_POOL_SIZE="0", SLUICE_NO_SUCH="1")
    assert told.exit_code == 1
    assert [line.split()[:2] for line in told.stdout.splitlines()] == [["FAIL", "settings"]] * 2
    assert told.stderr == ""


def test_a_port_that_is_taken_is_a_warning(doctor: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = doctor("--port", str(taken.getsockname()[1]))
    assert "warn  machine.port" in told.stdout
