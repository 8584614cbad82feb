"""After a 202 the job ends without the client doing anything, whatever happens to workers and Redis (I2)."""

import hashlib
import os
import signal
import time
from typing import Any

import pytest
from redis import Redis

from tests.fixtures.s3 import chosen_store
from tests.fixtures.stack import RunningStack, StartStack

GIB = 1024**3
CHUNK = 16 * 1024**2
RECOVERY_SECONDS = 30.0  # the promise for files up to 1 GiB


def _until_running(uploader: Any, job_id: str) -> None:
    """Return as soon as a worker has taken the job."""
    deadline = time.monotonic() + 10
    while (state := uploader.job(job_id)["state"]) == "queued":
        assert time.monotonic() < deadline, "no worker took the job"
    assert state == "running", f"the job was {state} before it could be disturbed"


def _flush(stack: RunningStack) -> None:
    socket = next((stack.data / "run").glob("*.sock"))
    with Redis(unix_socket_path=str(socket)) as redis:
        redis.flushall()


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("E2E_STORAGE") == "s3" and chosen_store() == "moto", reason="moto is too slow with such files"
)
def test_a_1_gib_file_is_ready_within_30_s_after_its_worker_was_killed_in_the_middle(
    start_stack: StartStack, uploader: Any
) -> None:
    stack = start_stack(workers=2, SLUICE_DURABILITY="none")  # the disk is not what is tested here
    client = uploader(stack.url)
    upload = client.create(GIB, CHUNK)
    content = bytes(CHUNK)
    for index in range(GIB // CHUNK):
        answer = client.clients[0].put(f"/v1/uploads/{upload['id']}/chunks/{index}", content=content)
        assert answer.status_code == 200, answer.text
    job = client.finalize(upload)
    _until_running(client, job["id"])

    stack.signal(signal.SIGKILL, *stack.parts("worker"))
    killed = time.monotonic()
    ended = client.ended(job["id"], RECOVERY_SECONDS)

    assert time.monotonic() - killed < RECOVERY_SECONDS
    assert ended["state"] == "succeeded", ended
    assert ended["attempts"] == 2
    expected = hashlib.sha256()
    for _ in range(GIB // CHUNK):
        expected.update(content)
    assert client.sha256(ended["file_id"]) == expected.hexdigest()


def test_a_file_is_ready_within_30_s_after_redis_was_wiped(shared_stack: RunningStack, uploader: Any) -> None:
    stack = shared_stack
    client = uploader(stack.url)
    content = b"sluice" * 100_000
    upload = client.create(len(content), 256 * 1024)
    client.send(upload, content)
    stack.signal(signal.SIGSTOP, *stack.parts("worker"))  # so that the bell is still in Redis when it is wiped
    try:
        job = client.finalize(upload)
        _flush(stack)
    finally:
        stack.signal(signal.SIGCONT, *stack.parts("worker"))

    ended = client.ended(job["id"], RECOVERY_SECONDS)

    assert ended["state"] == "succeeded", ended
    assert client.sha256(ended["file_id"]) == hashlib.sha256(content).hexdigest()


def test_finalize_is_answered_while_redis_is_away_and_finished_after_it_is_back(
    shared_stack: RunningStack, uploader: Any
) -> None:
    stack = shared_stack
    client = uploader(stack.url)
    content = b"doorbell" * 1000
    upload = client.create(len(content), 4096)
    client.send(upload, content)
    stack.signal(signal.SIGKILL, "redis")

    job = client.finalize(upload)
    ended = client.ended(job["id"], RECOVERY_SECONDS)  # `sluice up` restarts Redis

    assert ended["state"] == "succeeded", ended
    assert client.sha256(ended["file_id"]) == hashlib.sha256(content).hexdigest()


def test_a_killed_gateway_loses_no_acknowledged_chunk(shared_stack: RunningStack, uploader: Any) -> None:
    stack = shared_stack
    client = uploader(stack.url)
    content = bytes(range(256)) * 8192
    upload = client.create(len(content), 256 * 1024)
    for index in range(4):
        start = index * 256 * 1024
        answer = client.clients[0].put(
            f"/v1/uploads/{upload['id']}/chunks/{index}", content=content[start : start + 256 * 1024]
        )
        assert answer.status_code == 200

    stack.signal(signal.SIGKILL, *stack.parts("gateway"))
    client = uploader(stack.url)  # connections of the killed ones are gone
    status = _retried_get(client, f"/v1/uploads/{upload['id']}")

    assert status["missing"] == [[4, 7]]
    assert status["received_bytes"] == 4 * 256 * 1024


def _retried_get(client: Any, path: str) -> Any:
    """Until the restarted gateways answer: the listening socket stays open, so connecting works at once."""
    answer = client.clients[0].get(path, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()
