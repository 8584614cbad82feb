"""Small files whose bytes, rows or rings cannot be had: the client is told, and nothing is left."""

import asyncio
import errno
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from common.db.jobs import Jobs
from common.db.uploads import Uploads
from common.errors import DatabaseUnavailable, InsufficientStorage, StorageUnavailable
from common.storage.base import Receipt, Whole
from common.storage.local import LocalStorage
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, assert_problem, until
from tests.integration.gateway.test_faults import locked
from tests.integration.gateway.test_ingest import post_raw


def has_nothing(gateway: Gateway) -> bool:
    """Not a row, not a byte."""
    jobs = gateway.sql("SELECT count(*) FROM jobs")
    return (gateway.states(), jobs, gateway.folders()) == ({}, [(0,)], set())


def test_a_small_file_is_one_file_and_two_rows_until_a_worker_takes_it(own_gateway: Gateway) -> None:
    job = post_raw(own_gateway, b"12345").json()
    assert own_gateway.folders() == {f"{job['upload_id']}.whole"}
    assert own_gateway.states() == {job["upload_id"]: "finalizing"}
    assert own_gateway.sql("SELECT id, state, attempts FROM jobs") == [(job["id"], "queued", 0)]
    upload = own_gateway.http.get(f"/v1/uploads/{job['upload_id']}").json()
    assert (upload["received_bytes"], upload["missing"], upload["job_id"]) == (5, [], job["id"])


def test_a_full_disk_is_507(open_gateway: OpenGateway) -> None:
    own = open_gateway(MIN_FREE_BYTES=str(2**60))
    assert_problem(post_raw(own, b"x"), 507, "insufficient_storage")
    assert has_nothing(own)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(errno.ENOSPC, 507, "insufficient_storage"), (errno.EIO, 503, "storage_unavailable")],
)
def test_a_write_that_fails_is_told_and_can_be_repeated(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch, error: int, status: int, code: str
) -> None:
    def broken(*_: object) -> int:
        raise OSError(error, "no")

    with monkeypatch.context() as patched:
        patched.setattr("common.storage.onefile.write_at", broken)
        answer = post_raw(own_gateway, b"12345")
    assert_problem(answer, status, code)
    assert has_nothing(own_gateway)
    assert post_raw(own_gateway, b"12345").status_code == 202


def test_a_storage_that_is_not_there_is_503(own_gateway: Gateway) -> None:
    storage = own_gateway.services.storage
    assert isinstance(storage, LocalStorage)
    until(lambda: storage._identity._expected is not None)
    (own_gateway.folder / "storage").rename(own_gateway.folder / "moved")
    assert_problem(post_raw(own_gateway, b"x"), 503, "storage_unavailable")
    assert own_gateway.states() == {}
    assert own_gateway.sql("SELECT count(*) FROM jobs") == [(0,)]


def test_another_storage_than_the_database_knows_is_503(own_gateway: Gateway) -> None:
    assert own_gateway.http.get("/livez").status_code == 200
    storage = own_gateway.services.storage
    assert isinstance(storage, LocalStorage)
    storage.expect("another")
    assert_problem(post_raw(own_gateway, b"x"), 503, "storage_unavailable")
    assert has_nothing(own_gateway)


def test_a_bug_in_the_storage_leaves_nothing(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(LocalStorage, "put", broken)
    assert_problem(post_raw(own_gateway, b"x"), 500, "internal_error")
    assert has_nothing(own_gateway)


def test_a_database_that_is_away_when_the_body_has_come_is_503(own_gateway: Gateway) -> None:
    with locked(own_gateway.database):
        assert_problem(post_raw(own_gateway, b"x"), 503, "database_unavailable")
    assert has_nothing(own_gateway)


def test_a_body_that_breaks_off_never_had_a_row(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    inserted: list[object] = []
    monkeypatch.setattr(Uploads, "insert_all", lambda _, uploads: inserted.append(uploads))
    assert own_gateway.http.get("/livez").status_code == 200
    memory = own_gateway.services.ingest._memory
    with own_gateway.wire() as wire:
        wire.head("POST /v1/files?filename=a", Content_Length=100_000)
        wire.send(bytes(50_000))
        until(lambda: memory.held + memory.promised + memory.unread > 0)
    until(lambda: memory.held + memory.promised + memory.unread == 0)
    assert inserted == []
    assert has_nothing(own_gateway)


def test_bytes_that_took_too_long_are_not_believed(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may have given them up meanwhile."""
    with monkeypatch.context() as patched:
        patched.setattr("gateway.service.wholes.PATIENCE", -1)
        assert_problem(post_raw(own_gateway, b"x"), 503, "storage_unavailable")
    assert has_nothing(own_gateway)


def test_bytes_that_cannot_be_removed_keep_their_rows(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one nobody would look for them again."""

    async def away(*_: object) -> None:
        raise StorageUnavailable("no")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.service.wholes.PATIENCE", -1)
        patched.setattr(LocalStorage, "abort", away)
        assert_problem(post_raw(own_gateway, b"x"), 503, "storage_unavailable")
    assert list(own_gateway.states().values()) == ["finalizing"]
    assert own_gateway.sql("SELECT state FROM jobs") == [("queued",)]


def test_a_file_that_is_removed_while_it_is_stored_is_503(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError

    with monkeypatch.context() as patched:
        patched.setattr("common.storage.onefile.os.rename", gone)
        answer = post_raw(own_gateway, b"x")
    assert_problem(answer, 503, "storage_unavailable")
    assert has_nothing(own_gateway)


def test_rows_that_cannot_be_withdrawn_are_left_to_a_worker(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(Jobs, "withdraw", away)
    monkeypatch.setattr("gateway.service.wholes.PATIENCE", -1)
    assert_problem(post_raw(own_gateway, b"x"), 503, "storage_unavailable")
    assert own_gateway.folders() == set()
    assert list(own_gateway.states().values()) == ["finalizing"]


def test_a_file_is_taken_while_redis_is_away(open_gateway: OpenGateway) -> None:
    own = open_gateway(REDIS_URL="redis://127.0.0.1:1/0")
    assert post_raw(own, b"x").status_code == 202
    assert own.metric("sluice_bell_failed_total", kind="finalize") == 1


# --- many at once -------------------------------------------------------------------------------------------


@pytest.fixture
def busy(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The first transaction waits until this is set: what comes meanwhile comes together."""
    insert_all = Uploads.insert_all
    go_on = threading.Event()

    async def held(self: Uploads, uploads: Sequence[Any]) -> None:
        if not go_on.is_set():
            await asyncio.to_thread(go_on.wait, 20)
        await insert_all(self, uploads)

    monkeypatch.setattr(Uploads, "insert_all", held)
    return go_on


def post_together(gateway: Gateway, busy: threading.Event, count: int) -> list[int]:
    """The statuses of so many small files, of which all but the first come while that one is on its way."""
    assert gateway.http.get("/livez").status_code == 200
    starts = gateway.services.ingest._wholes._starts
    with ThreadPoolExecutor(count) as pool:
        first = pool.submit(post_raw, gateway, b"first")
        until(lambda: starts._task is not None and not starts._waiting)
        others = [pool.submit(post_raw, gateway, b"%d" % number) for number in range(1, count)]
        until(lambda: len(starts._waiting) == count - 1)
        busy.set()
        return [answer.result().status_code for answer in (first, *others)]


def stored_together(monkeypatch: pytest.MonkeyPatch, refused: bytes = b"") -> list[int]:
    """How many came in each call of the storage; the file with the bytes `refused` finds no room."""
    counts: list[int] = []
    put = LocalStorage.put

    async def counted(self: LocalStorage, wholes: Sequence[Whole]) -> list[Receipt | Exception]:
        counts.append(len(wholes))
        stored = await put(self, [whole for whole in wholes if b"".join(whole.batch) != refused])
        full = InsufficientStorage("no room")
        return [full if b"".join(whole.batch) == refused else stored.pop(0) for whole in wholes]

    monkeypatch.setattr(LocalStorage, "put", counted)
    return counts


def test_what_comes_in_the_same_moment_is_stored_and_rung_for_together(
    own_gateway: Gateway, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = stored_together(monkeypatch)
    assert post_together(own_gateway, busy, 8) == [202] * 8
    assert counts == [1, 7]
    bells = own_gateway.sql("SELECT bell, count(*) FROM jobs WHERE bell IS NOT NULL GROUP BY bell")
    assert [count for _, count in bells] == [7]


def test_one_that_is_refused_costs_the_others_nothing(
    own_gateway: Gateway, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_together(monkeypatch, refused=b"3")
    assert sorted(post_together(own_gateway, busy, 6)) == [202] * 5 + [507]
    assert len(own_gateway.states()) == len(own_gateway.folders()) == 5
    assert own_gateway.sql("SELECT count(*) FROM jobs") == [(5,)]
