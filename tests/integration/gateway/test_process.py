"""`python -m gateway` as a process: start, refusal to start, and a stop that lets work in flight end."""

import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from gateway.__main__ import main
from tests.integration.gateway.processes import gateway_process, run_part
from tests.integration.gateway.rig import Gateway, assert_problem, environment_of, until


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path) -> Path:
    """A data folder with a database at the newest schema."""
    (tmp_path / "sluice.db").write_bytes(empty_database.read_bytes())
    return tmp_path


def test_sigterm_lets_a_chunk_end_and_refuses_new_connections(folder: Path, redis_server: str, free_port: int) -> None:
    with gateway_process(folder, redis_server, free_port) as (gateway, process):
        upload = gateway.create(10)
        job = gateway.finalize(gateway.send(b"x")).json()
        with gateway.wire(20) as poll, gateway.wire(20) as wire:
            poll.head(f"GET /v1/jobs/{job['id']}?wait=30")
            wire.head(f"PUT /v1/uploads/{upload['id']}/chunks/0", Content_Length=10)
            wire.send(b"01234")
            until(lambda: gateway.metric("sluice_intake_bytes") == 5)
            process.send_signal(signal.SIGTERM)
            assert poll.answer().json()["state"] == "queued"  # answered now, not in thirty seconds
            until(lambda: refuses(free_port))
            assert process.poll() is None
            wire.send(b"56789")
            answer = wire.answer()
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert process.wait(20) == 0
    with gateway_process(folder, redis_server, free_port) as (again, _):
        assert again.look(upload)["missing"] == []


def test_with_a_shutdown_delay_it_is_not_ready_but_serves_new_connections_until_the_delay_is_over(
    folder: Path, redis_server: str, free_port: int
) -> None:
    with gateway_process(folder, redis_server, free_port, SHUTDOWN_DELAY="3") as (gateway, process):
        job = gateway.finalize(gateway.send(b"x")).json()
        with gateway.wire(20) as poll:
            poll.head(f"GET /v1/jobs/{job['id']}?wait=30")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(gateway.http.base_url.join("/readyz"), trust_env=False).status_code == 503)
            with gateway.wire() as late:
                late.head("GET /readyz")
                assert late.answer().json()["reasons"] == ["draining"]
            with httpx.Client(base_url=gateway.http.base_url, trust_env=False) as newcomer:
                again = Gateway(folder, free_port, newcomer)
                assert again.look(again.send(b"late"))["missing"] == []
            assert poll.answer().json()["state"] == "queued"  # held until the drain begins
            assert time.monotonic() - began >= 3
        assert process.wait(20) == 0
    assert refuses(free_port)


def test_a_second_interrupt_ends_the_shutdown_delay(folder: Path, redis_server: str, free_port: int) -> None:
    with gateway_process(folder, redis_server, free_port, SHUTDOWN_DELAY="300") as (gateway, process):
        assert gateway.http.get("/readyz").status_code == 200  # it listens a moment before it minds signals
        process.send_signal(signal.SIGINT)
        until(lambda: gateway.http.get("/readyz").status_code == 503)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_body_that_does_not_end_is_cut_when_the_drain_is_over(
    folder: Path, redis_server: str, free_port: int
) -> None:
    with gateway_process(folder, redis_server, free_port, DRAIN_SECONDS="1") as (gateway, process):
        upload = gateway.create(10)
        with gateway.wire(20) as wire:
            wire.head(f"PUT /v1/uploads/{upload['id']}/chunks/0", Content_Length=10)
            wire.send(b"01234")
            until(lambda: gateway.metric("sluice_intake_bytes") == 5)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            answer = wire.answer()
            assert process.wait(20) == 0
            assert time.monotonic() - began < 8
    assert assert_problem(answer, 503, "unavailable")
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_logs_are_json_lines_with_the_request_id(folder: Path, redis_server: str, free_port: int) -> None:
    with gateway_process(folder, redis_server, free_port) as (gateway, _):
        gateway.http.get("/v1/uploads/x", headers={"X-Request-Id": "find-me"})
        log = folder / "gateway.log"
        until(lambda: "find-me" in log.read_text())
    lines = [httpx.Response(200, content=line).json() for line in log.read_text().splitlines()]
    [line] = [line for line in lines if line.get("request_id") == "find-me"]
    assert (line["event"], line["status"], line["path"]) == ("request", 404, "/v1/uploads/x")
    assert lines[0]["event"] == "gateway.listening"
    assert lines[-1]["event"] == "gateway.stopped"


def test_a_taken_port_is_one_clear_line(folder: Path, redis_server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_part("gateway", "--port", str(port), environment=environment_of(folder, redis_server))
    assert ended.returncode == 1
    [line] = (ended.stdout + ended.stderr).splitlines()
    assert f"port {port}" in line
    assert "taken" in line


def test_an_unknown_setting_is_one_clear_line(folder: Path, redis_server: str) -> None:
    environment = environment_of(folder, redis_server) | {"SLUICE_MAX_FILESIZE": "5"}
    ended = run_part("gateway", environment=environment)
    assert ended.returncode == 1
    [line] = (ended.stdout + ended.stderr).splitlines()
    assert "SLUICE_MAX_FILESIZE" in line
    assert "SLUICE_MAX_FILE_SIZE" in line


def started_here(monkeypatch: pytest.MonkeyPatch, *arguments: str, **variables: str) -> int:
    """The command's exit status, without the cost of a process: it ends before it opens anything."""
    monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return main()


def test_every_wrong_value_has_its_line_and_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"DURABILITY": "always", "MAX_WAIT": "long", "DATABASE_URL": "mysql://u:secret@h/d"}
    assert started_here(monkeypatch, **{f"SLUICE_{name}": value for name, value in wrong.items()}) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "SLUICE_DATABASE_URL", "SLUICE_DURABILITY", "SLUICE_MAX_WAIT"
    ]  # fmt: skip
    assert "secret" not in "".join(lines)


def test_an_env_file_that_is_not_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started_here(monkeypatch, "--env-file", str(tmp_path / "absent.env")) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "absent.env: no such file" in line
