"""`sluice gateway`, `sluice worker`, `sluice migrate` and their `python -m` forms: settings in, exit status out."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from common.db.migrate import migrate

ROOT = Path(__file__).parents[2]
SLUICE = ("-m", "cli.main")
FORMS = {
    "sluice gateway": (*SLUICE, "gateway"),
    "sluice worker": (*SLUICE, "worker"),
    "sluice migrate": (*SLUICE, "migrate"),
    "python -m gateway": ("-m", "gateway"),
    "python -m worker": ("-m", "worker"),
}


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    command = (sys.executable, *arguments)
    return subprocess.run(
        command, cwd=ROOT, env=env | settings, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("form", FORMS)
def test_wrong_settings_are_one_line_each_and_exit_1(form: str) -> None:
    ended = run(*FORMS[form], SLUICE_VERIFY="maybe", SLUICE_DURABILTY="chunk")
    assert (ended.returncode, ended.stdout) == (1, "")
    lines = sorted(ended.stderr.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith("settings: SLUICE_DURABILTY: unknown setting")
    assert lines[1].startswith("settings: SLUICE_VERIFY: ")


@pytest.mark.parametrize("form", FORMS)
def test_an_absent_env_file_is_named(form: str, tmp_path: Path) -> None:
    ended = run(*FORMS[form], "--env-file", str(tmp_path / "absent.env"))
    assert ended.returncode == 1
    assert ended.stderr == f"settings: {tmp_path / 'absent.env'}: no such file\n"


@pytest.mark.parametrize("form", ["sluice gateway", "python -m gateway"])
def test_a_gateway_on_a_taken_port_is_one_line_and_exit_1(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(*FORMS[form], "--port", str(port))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"port {port} on 127.0.0.1 is already taken")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("form", ["sluice worker", "python -m worker"])
def test_a_worker_for_an_unknown_kind_of_job_does_not_start(form: str) -> None:
    ended = run(*FORMS[form], "--queues", "finalize,laundry")
    assert ended.returncode == 1
    assert ended.stderr.startswith("settings: SLUICE_WORKER_QUEUES: ")


def test_migrate_makes_the_database_that_the_env_file_names(tmp_path: Path) -> None:
    env_file = tmp_path / "sluice.env"
    env_file.write_text(f"SLUICE_DATABASE_URL=sqlite:///{tmp_path / 'new' / 'sluice.db'}\n")
    for _ in range(2):
        ended = run(*FORMS["sluice migrate"], "--env-file", str(env_file))
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith("database schema is at revision ")
    assert (tmp_path / "new" / "sluice.db").exists()


def test_migrate_says_in_one_line_that_the_database_does_not_answer() -> None:
    ended = run(*FORMS["sluice migrate"], SLUICE_DATABASE_URL="postgresql://sluice:hush@127.0.0.1:1/sluice")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "hush" not in ended.stderr


def test_migrate_check_tells_whether_the_schema_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sluice.db'}"
    before = run(*FORMS["sluice migrate"], "--check", SLUICE_DATABASE_URL=url)
    revision = migrate(url)
    after = run(*FORMS["sluice migrate"], "--check", SLUICE_DATABASE_URL=url)
    assert (before.returncode, before.stdout, before.stderr.count("\n")) == (1, "", 1)
    assert before.stderr.startswith(f"migrate: the database is not at schema {revision}")
    assert (after.returncode, after.stdout) == (0, f"database schema is at revision {revision}\n")


def test_migrate_wait_ends_when_somebody_else_has_migrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sluice.db'}"
    command = (sys.executable, *FORMS["sluice migrate"], "--wait", "100")
    env = os.environ | {"SLUICE_DATABASE_URL": url}
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith("migrate: waiting: the database is not at schema ")
        migrate(url)
        assert waiting.wait(timeout=60) == 0


def test_migrate_wait_gives_up_after_its_seconds() -> None:
    url = "postgresql://sluice:hush@127.0.0.1:1/sluice"
    ended = run(*FORMS["sluice migrate"], "--wait", "0.2", SLUICE_DATABASE_URL=url)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("migrate: no answer from postgresql://127.0.0.1:1/sluice")
    assert "hush" not in ended.stderr
