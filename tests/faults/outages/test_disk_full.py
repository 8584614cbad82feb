"""A file system without room: 507 with the reason, everything else goes on, and whole when there is room again."""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.faults.outages.conftest import MountSmall
from tests.faults.outages.service import BACK_SECONDS, Service, service, until_served
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.gateway.rig import Gateway, Json, assert_problem, until

MIB = 1024 * 1024
DISK = 24  # MiB
CHUNK = 1 * MIB
BLOCK = 4096  # bytes
FULL = {"insufficient_storage", "database_full"}
FULL_AND_READY = {"status": "ok", "warnings": ["insufficient_storage"]}


class Ballast:
    """Somebody else's file, which takes all the room there is."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes free, in whole blocks."""
        with self._path.open("ab", buffering=0) as file:
            free = os.statvfs(file.fileno()).f_bavail * BLOCK - leave
            file.write(bytes(max(0, free // BLOCK * BLOCK)))

    def remove(self) -> None:
        self._path.unlink()


def content(seed: int, size: int) -> bytes:
    return (hashlib.sha256(bytes([seed])).digest() * (size // 32 + 1))[:size]


def pieces(data: bytes) -> list[bytes]:
    return [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]


def read_back(gateway: Gateway, file: Json) -> bytes:
    answer = gateway.http.get(f"/v1/files/{file['id']}/content")
    assert answer.status_code == 200
    return answer.content


def what_is_left_works(gateway: Gateway, upload: Json, file: Json, data: bytes) -> None:
    """Reads, polls and lists while nothing can be written."""
    assert gateway.look(upload)["state"] == "open"
    assert gateway.http.get("/v1/jobs").status_code == 200
    assert gateway.http.get(file["links"]["content"]).content == data
    assert gateway.http.get("/v1/files").json()["items"][0]["id"] == file["id"]
    assert gateway.http.get("/livez").status_code == 200
    ready = gateway.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, FULL_AND_READY)


def refused(answer: httpx.Response) -> Json:
    """507, with a code of a full disk and words that say so."""
    problem = assert_problem(answer, 507, answer.json()["code"])
    assert problem["code"] in FULL
    assert any(word in problem["detail"] for word in ("space", "room", "stored"))
    return problem


def whole(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture(scope="module")
def small_disk(mount_small: MountSmall) -> Path:
    return mount_small(DISK)


@pytest.fixture(scope="module")
def elsewhere(
    small_disk: Path, migrated_sqlite: Path, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Bytes on a small disk, rows on another."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(migrated_sqlite, folder / "sluice.db")
    settings = {"STORAGE_URL": (small_disk / "storage").as_uri(), "REDIS_QUEUE_PREFIX": folder.name}
    with service(folder, redis_server, worker=True, **settings) as running:
        yield running


def test_a_full_disk_is_507_and_all_is_finished_when_there_is_room_again(
    elsewhere: Service, small_disk: Path, faults: FaultReport
) -> None:
    faults.note(fill_and_free(elsewhere, small_disk, same=False))
    whole(elsewhere.gateway.database)


def test_a_full_disk_with_the_database_on_it_is_507_and_whole_when_there_is_room_again(
    folder: Path, mount_small: MountSmall, redis_url: str, faults: FaultReport
) -> None:
    disk = mount_small(DISK)
    shutil.copy(folder / "sluice.db", disk / "sluice.db")
    settings = {"STORAGE_URL": (disk / "storage").as_uri(), "DATABASE_URL": f"sqlite:///{disk / 'sluice.db'}"}
    with service(folder, redis_url, worker=True, **settings) as running:
        faults.note(fill_and_free(running, disk, same=True))
    whole(disk / "sluice.db")


def fill_and_free(running: Service, disk: Path, *, same: bool) -> FaultRow:
    """What a client and an operator see from a disk that fills up to the last byte until it has room again."""
    gateway, ballast = running.gateway, Ballast(disk)
    small = content(1, 100_000)
    file = gateway.publish(small)
    first, second = content(2, 4 * CHUNK), content(3, 4 * CHUNK)
    one, other = (gateway.create(len(first), chunk_size=CHUNK) for _ in range(2))
    sent, unwanted = gateway.send(small), gateway.send(small)
    for upload, data in ((one, first), (other, second)):
        assert gateway.put(upload, 0, data[:CHUNK]).status_code == 200

    ballast.fill(leave=CHUNK // 2 // BLOCK * BLOCK)
    refused(gateway.put(one, 1, pieces(first)[1]))  # in the middle: half of it had room
    ballast.fill()
    answers = [
        gateway.put(other, 1, pieces(second)[1]),
        gateway.http.post("/v1/uploads", json={"filename": "a.bin", "size": 5 * CHUNK}),
        gateway.http.post("/v1/files?filename=a.bin", content=bytes(2 * CHUNK)),
    ]
    assert [refused(answer)["code"] for answer in answers]
    assert [gateway.look(upload)["missing"] for upload in (one, other)] == [[[1, 3]], [[1, 3]]]
    what_is_left_works(gateway, one, file, small)
    if same:
        rows_are_refused(gateway)
        assert refused(gateway.finalize(sent))["code"] == "database_full"
    else:
        assert gateway.http.delete(f"/v1/uploads/{unwanted['id']}").status_code == 204
        gateway.finish(sent)  # needs no room for the bytes

    ballast.remove()
    seconds = until_served(gateway, ("POST", "/v1/uploads", {"filename": "b.bin", "size": 1}), 201)
    for upload, data in ((one, first), (other, second)):
        for index in range(1, 4):
            assert gateway.put(upload, index, pieces(data)[index]).status_code == 200
        assert read_back(gateway, gateway.finish(upload)) == data
    assert read_back(gateway, gateway.finish(sent)) == read_back(gateway, file) == small
    title = f"disk full, database {'on the same disk' if same else 'elsewhere'}"
    return FaultRow(title, 1 + len(answers), chunks_checked=10, files_checked=4, longest_recovery=seconds)


def rows_are_refused(gateway: Gateway) -> None:
    """After the log of the database has used the room that it had taken before."""
    large = {"filename": "a.bin", "size": 0, "metadata": {"m": "x" * 15000}}
    for _ in range(100):
        answer = gateway.http.post("/v1/uploads", json=large)
        if answer.json().get("code") == "database_full":
            refused(answer)
            return
        assert answer.status_code in (201, 507), answer.text
    raise AssertionError("the database found room on a full disk")


def test_uploads_that_fill_the_disk_leave_room_for_the_database_and_an_abort_makes_room(
    folder: Path, mount_small: MountSmall, redis_url: str, faults: FaultReport
) -> None:
    """The reserve is what keeps rows writable: so the way out of a full disk is always open."""
    disk = mount_small(DISK)
    shutil.copy(folder / "sluice.db", disk / "sluice.db")
    settings = {
        "STORAGE_URL": (disk / "storage").as_uri(),
        "DATABASE_URL": f"sqlite:///{disk / 'sluice.db'}",
        "MIN_FREE_BYTES": "8MiB",
    }
    with service(folder, redis_url, worker=True, **settings) as running:
        gateway = running.gateway
        uploads = [gateway.create(3 * CHUNK, chunk_size=CHUNK) for _ in range(4)]
        # nearly all is free, but what open uploads have declared is promised to them
        refused(gateway.http.post("/v1/uploads", json={"filename": "a.bin", "size": 5 * CHUNK}))
        data = content(4, 3 * CHUNK)
        for upload in uploads:
            for index, piece in enumerate(pieces(data)):
                assert gateway.put(upload, index, piece).status_code == 200
        Ballast(disk).fill(leave=4 * MIB)  # below the reserve
        refused(gateway.http.post("/v1/uploads", json={"filename": "a.bin", "size": CHUNK}))
        assert gateway.http.get("/readyz").json() == FULL_AND_READY
        assert gateway.finish(uploads[0])["size"] == 3 * CHUNK
        for upload in uploads[1:]:
            assert gateway.http.delete(f"/v1/uploads/{upload['id']}").status_code == 204
        began = time.monotonic()
        until(lambda: gateway.http.get("/readyz").json() == {"status": "ok"}, BACK_SECONDS)
        recovery = time.monotonic() - began
    whole(disk / "sluice.db")
    faults.note(FaultRow("disk full of uploads: aborts make room", 2, 12, files_checked=1, longest_recovery=recovery))


def test_many_chunks_at_once_meet_the_full_disk_and_none_is_half_stored(
    elsewhere: Service, small_disk: Path, faults: FaultReport
) -> None:
    """Those that were acknowledged are whole, the others count as missing, and all can be finished."""
    gateway, ballast = elsewhere.gateway, Ballast(small_disk)
    data = content(5, 12 * CHUNK)
    upload = gateway.create(len(data), chunk_size=CHUNK)
    ballast.fill(leave=6 * MIB)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda index: gateway.put(upload, index, pieces(data)[index]), range(12)))
    acknowledged = [index for index, answer in enumerate(answers) if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 507}
    assert gateway.look(upload)["received_bytes"] == len(acknowledged) * CHUNK
    ballast.remove()
    for index in set(range(12)) - set(acknowledged):
        assert gateway.put(upload, index, pieces(data)[index]).status_code == 200
    assert read_back(gateway, gateway.finish(upload)) == data
    faults.note(FaultRow("disk fills under 8 connections", 12, len(acknowledged), files_checked=1))
