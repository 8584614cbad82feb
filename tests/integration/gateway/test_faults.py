"""What the gateway says when its disk, its database or Redis fail, and that nothing is lost by it."""

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.db.migrate import migrate
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.processes import private_redis
from tests.integration.gateway.rig import Gateway, assert_problem, until

CONTENT = bytes(3_000_000)


def timed(call: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


# --- disk ---------------------------------------------------------------------------------------------------


def test_a_disk_that_fills_in_the_middle_of_a_chunk_is_507_and_the_chunk_can_be_sent_again(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = own_gateway.create(len(CONTENT), chunk_size=len(CONTENT))
    write = os.pwritev

    def full(descriptor: int, buffers: Any, offset: int) -> int:
        if offset > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, buffers, offset)

    with monkeypatch.context() as patched:
        patched.setattr("common.storage.durable.os.pwritev", full)
        assert_problem(own_gateway.put(upload, 0, CONTENT), 507, "insufficient_storage")
    assert own_gateway.look(upload)["received_bytes"] == 0
    assert own_gateway.put(upload, 0, CONTENT).status_code == 200
    assert own_gateway.finalize(upload).status_code == 202


def test_a_disk_that_fails_is_503_and_the_chunk_can_be_sent_again(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = own_gateway.create(5)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("common.storage.durable.os.pwritev", broken)
        answer = own_gateway.put(upload, 0, b"12345")
    assert_problem(answer, 503, "storage_unavailable")
    assert answer.headers["retry-after"]
    assert own_gateway.put(upload, 0, b"12345").status_code == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "storage"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_file_system_is_507_until_something_is_removed(small_disk: Path, open_gateway: OpenGateway) -> None:
    """Somebody else fills the volume: what was promised at create cannot be kept."""
    own = open_gateway()
    upload = own.create(5_000_000, chunk_size=2_500_000)
    assert_problem(own.http.post("/v1/uploads", json={"filename": "a", "size": 9_000_000}), 507, "insufficient_storage")
    assert own.put(upload, 0, bytes(2_500_000)).status_code == 200
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5_000_000))
    assert_problem(own.put(upload, 1, bytes(2_500_000)), 507, "insufficient_storage")
    ballast.unlink()
    assert own.put(upload, 1, bytes(2_500_000)).status_code == 200
    assert own.finalize(upload).status_code == 202


def test_bytes_that_vanished_under_an_open_upload_are_missing_again(own_gateway: Gateway) -> None:
    upload = own_gateway.send(b"0123456789", chunk_size=5)
    folder = own_gateway.upload_folder(upload["id"])
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
    assert own_gateway.look(upload)["missing"] == [[0, 1]]
    assert_problem(own_gateway.finalize(upload), 409, "chunks_missing")
    assert [own_gateway.put(upload, index, b"56789").status_code for index in (0, 1)] == [200, 200]
    assert own_gateway.finalize(upload).status_code == 202


def test_a_chunk_that_races_with_an_abort_does_not_bring_the_folder_back(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = own_gateway.create(5)
    begin = own_gateway.services.storage.begin

    async def aborted_meanwhile(key: Any, shape: Any) -> None:
        own_gateway.sql("UPDATE uploads SET state = 'aborted', cleaned = 1 WHERE id = ?", upload["id"])
        await begin(key, shape)

    own_gateway.services.chunks._facts.put(_Row(upload))  # type: ignore[arg-type]
    folder = own_gateway.upload_folder(upload["id"])
    folder.rename(folder.with_name("elsewhere"))
    monkeypatch.setattr(own_gateway.services.storage, "begin", aborted_meanwhile)
    assert_problem(own_gateway.put(upload, 0, b"12345"), 409, "upload_not_open")
    assert not folder.exists()


class _Row:
    """What the facts are taken from."""

    def __init__(self, upload: dict[str, Any]) -> None:
        self.id, self.tenant = upload["id"], "default"
        self.size, self.chunk_size = upload["size"], upload["chunk_size"]


# --- Redis --------------------------------------------------------------------------------------------------


def test_finalize_is_accepted_while_redis_is_not_there(open_gateway: OpenGateway) -> None:
    own = open_gateway(REDIS_URL="redis://127.0.0.1:1/0")
    upload = own.send(b"x")
    answer, seconds = timed(lambda: own.finalize(upload))
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert seconds < 1.5
    assert own.sql("SELECT state FROM jobs WHERE id = ?", answer.json()["id"]) == [("queued",)]
    assert own.metric("sluice_bell_failed_total", kind="finalize") == 1
    assert own.http.get("/readyz").status_code == 200


def test_finalize_is_accepted_while_redis_hangs(open_gateway: OpenGateway) -> None:
    with private_redis() as (url, pid):
        own = open_gateway(REDIS_URL=url)
        first = own.send(b"x")
        assert own.finalize(first).status_code == 202
        upload = own.send(b"y")
        os.kill(pid, signal.SIGSTOP)
        try:
            answer, seconds = timed(lambda: own.finalize(upload))
            job, polled = timed(lambda: own.http.get(f"/v1/jobs/{answer.json()['id']}"))
        finally:
            os.kill(pid, signal.SIGCONT)
        assert answer.status_code == 202
        assert seconds < 1.6
        assert (job.status_code, polled < 1.5) == (200, True)


def test_a_running_job_is_shown_without_progress_while_redis_is_not_there(open_gateway: OpenGateway) -> None:
    own = open_gateway(REDIS_URL="redis://127.0.0.1:1/0")
    job = own.finalize(own.send(b"x")).json()
    own.sql("UPDATE jobs SET state = 'running' WHERE id = ?", job["id"])
    answer, seconds = timed(lambda: own.http.get(f"/v1/jobs/{job['id']}"))
    assert answer.json()["progress"] == {"done": 0, "total": 1}
    assert seconds < 1.5


# --- database -----------------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody holds the whole SQLite file: nobody reads, nobody writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def test_a_locked_database_is_503_in_time_and_the_upload_can_be_finished(own_gateway: Gateway) -> None:
    upload = own_gateway.send(b"x")
    with locked(own_gateway.database):
        calls: list[Callable[[], httpx.Response]] = [
            lambda: own_gateway.http.post("/v1/uploads", json={"filename": "a", "size": 1}),
            lambda: own_gateway.finalize(upload),
            lambda: own_gateway.http.delete(f"/v1/uploads/{upload['id']}"),
            lambda: own_gateway.http.post("/v1/files?filename=a", content=b"x"),
        ]
        with ThreadPoolExecutor(len(calls)) as threads:
            answers = list(threads.map(timed, calls))
        for answer, seconds in answers:
            assert_problem(answer, 503, "database_unavailable")
            assert answer.headers["retry-after"] == "2"
            assert seconds < 2.5
    assert own_gateway.finalize(upload).status_code == 202
    assert len(own_gateway.states()) == 1


def test_chunks_are_taken_while_the_database_is_locked(open_gateway: OpenGateway) -> None:
    own = open_gateway(DATABASE_TIMEOUT="20")
    upload = own.create(10, chunk_size=5)
    own.put(upload, 0, b"01234")
    with locked(own.database):
        answer, seconds = timed(lambda: own.put(upload, 1, b"56789"))
    assert answer.status_code == 200
    assert seconds < 10  # nobody asks the database, and waits for it


@pytest.fixture
def postgres(postgres_url: str, open_gateway: OpenGateway) -> Gateway:
    """A gateway over PostgreSQL."""
    migrate(postgres_url)
    return open_gateway(DATABASE_URL=postgres_url)


def test_the_main_path_runs_on_postgresql(postgres: Gateway) -> None:
    upload = postgres.send(b"0123456789", chunk_size=4, tags={"a": "1"}, metadata={"n": 1})
    job = postgres.finalize(upload).json()
    assert postgres.look(upload)["job_id"] == job["id"]
    assert postgres.http.get("/v1/jobs").json()["items"][0]["id"] == job["id"]
    for query in ("filename=%00", "cursor=MjAyNi0wMS0wMVQwMDowMDowMCswMDowMHwA", "tag=%00"):
        assert_problem(postgres.http.get(f"/v1/files?{query}"), 422, "invalid_request")
    assert postgres.http.get("/v1/files?tag=a=1").json()["items"] == []
    assert postgres.http.get("/startupz").status_code == 200


def test_a_database_that_is_not_there_is_503_in_time(open_gateway: OpenGateway, free_port: int) -> None:
    own = open_gateway(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port}/nothing")
    answer, seconds = timed(lambda: own.http.post("/v1/uploads", json={"filename": "a", "size": 1}))
    assert_problem(answer, 503, "database_unavailable")
    assert answer.headers["retry-after"]
    assert seconds < 2
    assert own.http.get("/livez").status_code == 200
    ready = own.http.get("/readyz")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["database_unavailable"])
    assert own.http.get("/startupz").json()["reasons"] == ["database_unavailable"]


@contextmanager
def deaf_listener() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said: a server that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_database_that_hangs_is_503_in_time(open_gateway: OpenGateway) -> None:
    with deaf_listener() as port:
        own = open_gateway(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/nothing")
        answer, seconds = timed(lambda: own.http.get("/v1/files"))
        assert_problem(answer, 503, "database_unavailable")
        assert seconds < 2.2


def test_a_database_without_tables_is_503_and_says_what_to_run(open_gateway: OpenGateway, tmp_path: Path) -> None:
    own = open_gateway(DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    answer = own.http.post("/v1/uploads", json={"filename": "a", "size": 1})
    assert "sluice migrate" in assert_problem(answer, 503, "database_unavailable")["detail"]
    startup = own.http.get("/startupz")
    assert (startup.status_code, startup.json()["reasons"]) == (503, ["schema_not_current"])


def test_probes_say_when_the_storage_is_gone(own_gateway: Gateway) -> None:
    until(lambda: own_gateway.http.get("/readyz").status_code == 200)
    storage = own_gateway.folder / "storage"
    storage.rename(own_gateway.folder / "moved")
    storage.write_text("a file where the folder should be")
    answer = own_gateway.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "reasons": ["storage_unavailable"]})
    assert 'sluice_ready{part="gateway"} 0.0' in own_gateway.http.get("/metrics").text
    assert own_gateway.http.get("/livez").json() == {"status": "ok"}


def test_a_storage_that_hangs_is_told_in_time_and_holds_one_thread(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: own_gateway.http.get("/readyz").status_code == 200)
    monkeypatch.setattr("common.probes.PROBE_SECONDS", 0.1)
    gate, hanging = threading.Event(), []

    def hang(_: object) -> None:
        hanging.append(1)
        gate.wait(30)

    monkeypatch.setattr("common.storage.local.LocalStorage._check_writable", hang)
    try:
        answers = [own_gateway.http.get("/readyz", timeout=10) for _ in range(10)]
        scrape = own_gateway.http.get("/metrics", timeout=10)
    finally:
        gate.set()
    assert {answer.status_code for answer in answers} == {503}
    assert set(answers[-1].json()["reasons"]) == {"probe_timeout"}
    assert 'sluice_ready{part="gateway"} 0.0' in scrape.text
    assert len(hanging) == 1


def test_a_full_storage_is_told_and_keeps_nobody_out(open_gateway: OpenGateway) -> None:
    """What makes room again, deleting and aborting, goes through gateways that are ready."""
    full = open_gateway(MIN_FREE_BYTES=str(2**60))
    answer = full.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "warnings": ["insufficient_storage"]})
    assert 'sluice_ready{part="gateway"} 1.0' in full.http.get("/metrics").text


def test_a_storage_that_cannot_be_written_is_not_ready(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr("common.storage.local.fcntl.flock", read_only)
    answer = own_gateway.http.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["storage_unavailable"])
