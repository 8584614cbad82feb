"""A gateway and a worker whose database and storage lie on one image, and a client that writes down what it is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

import httpx

from tests.faults.points.checks import query
from tests.faults.points.nursery import Nursery
from tests.faults.points.script import environment_of

CHUNK = 512 * 1024
CHUNK_COUNT = 12
CONTENT = Random(4).randbytes(CHUNK * CHUNK_COUNT - 1234)
SENDERS = 3
START_SECONDS = 20.0
END_SECONDS = 30.0  # design: a finalize that was accepted has ended so long after the last fault
Heard = Callable[[str, int], None]


@dataclass
class Site:
    """`truth` is on the image; `aside` is not: logs and port numbers."""

    nursery: Nursery
    truth: Path
    aside: Path
    redis_url: str
    without: str | None = None
    running: list[int] = field(default_factory=list)

    def start(self) -> httpx.Client:
        """Both processes; a client once the gateway answers."""
        environment = environment_of(
            self.truth,
            REDIS_URL=self.redis_url,
            REDIS_QUEUE_PREFIX=self.aside.name,
            DATABASE_POOL_SIZE="5",
            DATABASE_TIMEOUT="1.5",
            LEASE_SECONDS="1",
            HEARTBEAT_SECONDS="0.3",
            SWEEP_SECONDS="0.2",
            POLL_DELAY="0.02",
        )
        port = self.aside / "gateway.port"
        port.unlink(missing_ok=True)
        for role in ("gateway", "worker"):
            pid = self.nursery.start(role, self.aside, environment=environment, without=self.without)
            self.running.append(pid)
        until(port.exists, START_SECONDS)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port.read_text()}", timeout=END_SECONDS, trust_env=False)
        try:
            until(lambda: _is_ready(client), START_SECONDS)
        except TimeoutError:
            client.close()
            raise AssertionError(f"the service did not become ready:\n{self.log()}") from None
        return client

    def halt(self) -> None:
        """SIGKILL for both, from any thread: a power cut leaves no process. `kill` is due afterwards."""
        for pid in self.running:
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """End both and wait for them."""
        while self.running:
            self.nursery.kill(self.running.pop())

    def log(self) -> str:
        path = self.aside / "log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""


@dataclass
class Client:
    """One upload over HTTP. Whatever got a 2xx is noted before `heard` is called with the event and its count."""

    http: httpx.Client
    heard: Heard = field(default=lambda event, count: None)
    upload: str | None = None
    job: str | None = None
    file: str | None = None
    chunks: dict[int, int] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    """Chunks that were missing when it came, by what the service said."""
    _noting: Lock = field(default_factory=Lock)

    def run(self) -> bool:
        """From create to published; False as soon as anything is refused or breaks off."""
        try:
            self._create()
            with ThreadPoolExecutor(SENDERS) as pool:
                list(pool.map(self._put, self.asked))
            answer = self._taken(self.http.post(f"/v1/uploads/{self.upload}/finalize"))
            self.job = answer["id"]
            self.heard("accepted", 1)
            job = self._taken(self.http.get(f"/v1/jobs/{self.job}", params={"wait": END_SECONDS}))
            if job["state"] != "succeeded":
                return False
            self.file = job["file_id"]
            self.heard("published", 1)
        except (httpx.HTTPError, _Refused):
            return False
        return True

    def download(self) -> bytes:
        return self.http.get(f"/v1/files/{self.file}/content").content

    def _create(self) -> None:
        wanted = {"filename": "power.bin", "size": len(CONTENT), "chunk_size": CHUNK}
        upload = self._taken(self.http.post("/v1/uploads", json=wanted, headers={"Idempotency-Key": "power"}))
        self.upload = upload["id"]
        self.asked = [index for first, last in upload["missing"] for index in range(first, last + 1)]
        self.heard("created", 1)

    def _put(self, index: int) -> None:
        piece = CONTENT[index * CHUNK : (index + 1) * CHUNK]
        answer = self._taken(self.http.put(f"/v1/uploads/{self.upload}/chunks/{index}", content=piece))
        with self._noting:
            self.chunks[index] = int(answer["digests"]["crc64nvme"], 16)
            self.heard("chunk", len(self.chunks))

    def _taken(self, answer: httpx.Response) -> dict[str, Any]:
        if not answer.is_success:
            raise _Refused(answer.text)
        return dict(answer.json())


class _Refused(Exception):
    """The service said no."""


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Ask again and again: for what another process does and tells nobody."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("gave up waiting")
        time.sleep(0.01)


def nothing_waits(truth: Path) -> bool:
    """Whether all jobs have ended and all uploads are tidied."""
    [(jobs,)] = query(truth, "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")
    [(uploads,)] = query(truth, "SELECT count(*) FROM uploads WHERE NOT cleaned")
    return bool(jobs == 0 and uploads == 0)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.HTTPError:
        return False
