"""Bytes that change behind the service's back, and two connections that disagree about a chunk: over HTTP, with a real
worker. Never a ready file that is not what was acknowledged."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from tests.fixtures.faults import FaultReport, FaultRow
from tests.fixtures.stack import RunningStack, stacks

CHUNK = 64 * 1024
CHUNKS = 4
FLIPS = {"short": 6, "full": 60}
ROUNDS = {"short": 30, "full": 300}
PIECE = 8 * 1024  # a body is sent in pieces of this size, so that two of them mix
Json = dict[str, Any]


@dataclass
class Client:
    """HTTP only; `stack` is for damaging what lies in the storage."""

    stack: RunningStack
    http: httpx.Client

    def create(self, size: int) -> Json:
        answer = self.http.post("/v1/uploads", json={"filename": "a.bin", "size": size, "chunk_size": CHUNK})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def put(self, upload: Json, index: int, chunk: bytes) -> httpx.Response:
        pieces = (chunk[start : start + PIECE] for start in range(0, len(chunk), PIECE))
        return self.http.put(f"/v1/uploads/{upload['id']}/chunks/{index}", content=pieces)

    def finalized(self, upload: Json) -> Json:
        """The job at its end."""
        answer = self.http.post(f"/v1/uploads/{upload['id']}/finalize")
        assert answer.status_code == 202, answer.text
        job = self.http.get(f"/v1/jobs/{answer.json()['id']}", params={"wait": 30}).json()
        assert job["finished_at"], job
        return dict(job)

    def content(self, job: Json) -> bytes:
        return self.http.get(f"/v1/files/{job['file_id']}/content").content

    def flip(self, upload: Json, offset: int) -> None:
        [data] = (self.stack.data / "storage").glob(f"*/uploads/{upload['id']}/data")
        flip(data, offset)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def flip_one(path: Path) -> None:
    flip(path, 12345)


def cut(path: Path) -> None:
    os.truncate(path, 100)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One service for all: each test has uploads of its own, and one of them damages published files."""
    with stacks(tmp_path_factory.mktemp("rot")) as start:
        stack = start(2, SLUICE_SWEEP_SECONDS="1", SLUICE_SCRUB_PERIOD="0.5", SLUICE_SCRUB_RATE="100MiB")
        with httpx.Client(base_url=stack.url, timeout=40, trust_env=False) as http:
            yield Client(stack, http)


def test_a_flipped_bit_before_finalize_names_its_chunk_and_sending_that_one_again_is_enough(
    client: Client, faults: FaultReport
) -> None:
    random = Random(1)
    flips = FLIPS[faults.form]
    for _ in range(flips):
        content = os.urandom((CHUNKS - 1) * CHUNK + 1000)
        chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
        upload = client.create(len(content))
        assert [client.put(upload, *one).status_code for one in enumerate(chunks)] == [200] * CHUNKS
        offset = random.randrange(len(content))
        damaged = offset // CHUNK
        client.flip(upload, offset)

        failed = client.finalized(upload)

        assert (failed["state"], failed["error"]["code"]) == ("failed", "chunks_damaged"), failed
        assert failed["error"]["chunks"] == [damaged]
        again = client.http.get(f"/v1/uploads/{upload['id']}").json()
        assert (again["state"], again["missing"]) == ("open", [[damaged, damaged]])
        assert client.put(upload, damaged, chunks[damaged]).status_code == 200
        job = client.finalized(upload)
        assert job["state"] == "succeeded", job
        assert client.content(job) == content
    faults.note(FaultRow("flipped bit before finalize", flips, flips * CHUNKS, files_checked=flips))


def test_two_connections_with_other_bytes_for_one_chunk_never_make_a_file_that_is_neither(
    client: Client, faults: FaultReport
) -> None:
    rounds = ROUNDS[faults.form]
    seen: Counter[int] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            seen.update(_one_race(client, pool))
    assert seen[200] == rounds  # each time exactly one of the two
    faults.note(FaultRow("two writers of one chunk", rounds, rounds, files_checked=rounds))


def _one_race(client: Client, pool: ThreadPoolExecutor) -> list[int]:
    candidates = (os.urandom(CHUNK), os.urandom(CHUNK))
    upload = client.create(CHUNK)
    together = threading.Barrier(2)

    def send(chunk: bytes) -> httpx.Response:
        together.wait()
        return client.put(upload, 0, chunk)

    answers = list(pool.map(send, candidates))
    acknowledged = [chunk for chunk, answer in zip(candidates, answers, strict=True) if answer.status_code == 200]
    refused = [answer.json()["code"] for answer in answers if answer.status_code != 200]
    assert len(acknowledged) == 1, refused
    assert refused in (["chunk_conflict"], ["chunk_busy"])
    job = client.finalized(upload)
    assert job["state"] == "succeeded", job
    assert client.content(job) == acknowledged[0]
    return [answer.status_code for answer in answers]


def test_a_published_file_that_rots_is_found_by_the_scrub_and_never_sent(client: Client, faults: FaultReport) -> None:
    stack, http = client.stack, client.http
    kinds: list[Callable[[Path], None]] = [flip_one, Path.unlink, cut]
    sound, *rotten = [_published(client) for _ in range(1 + len(kinds))]
    for job, damage in zip(rotten, kinds, strict=True):
        [path] = (stack.data / "storage").glob(f"*/files/*/{job['file_id']}")
        path.chmod(0o640)
        damage(path)
    for job in rotten:
        _wait_for_state(http, job["file_id"], "corrupt")
        answer = http.get(f"/v1/files/{job['file_id']}/content")
        assert (answer.status_code, answer.json()["code"]) == (500, "file_corrupt")
    assert len(client.content(sound)) == 2 * CHUNK
    assert http.get(f"/v1/files/{sound['file_id']}").json()["state"] == "ready"
    port = (stack.data / "run" / "worker-1.port").read_text().strip()
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert f"sluice_files_corrupt_total {len(rotten)}.0" in metrics
    log = (stack.data.parent / "stack.log").read_text()
    assert [job["file_id"] for job in rotten if job["file_id"] not in log] == []
    assert log.count("file.corrupt") == len(rotten)
    faults.note(FaultRow("rot in published files", len(rotten), files_checked=len(rotten) + 1))


def _published(client: Client) -> Json:
    content = os.urandom(2 * CHUNK)
    upload = client.create(len(content))
    for index in range(2):
        assert client.put(upload, index, content[index * CHUNK : (index + 1) * CHUNK]).status_code == 200
    job = client.finalized(upload)
    assert job["state"] == "succeeded", job
    return job


def _wait_for_state(http: httpx.Client, file_id: str, state: str) -> None:
    for _ in range(600):
        if http.get(f"/v1/files/{file_id}").json()["state"] == state:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"the file did not become {state}")
