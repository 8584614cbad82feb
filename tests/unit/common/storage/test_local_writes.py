"""Writes of the local storage under faults: failing syncs, full disks, dead and stalled writers."""

import asyncio
import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import ChunkBusy, InsufficientStorage, StorageUnavailable, UploadNotOpen
from common.storage.base import Segment, UploadKey
from common.storage.layout import UploadPaths
from tests.contract.storage_parts import CHUNK, Body, beginning, put, put_all, random_bytes, receipt_of
from tests.unit.common.storage.conftest import OpenLocal

DATA = random_bytes(CHUNK)
PART = CHUNK // 2
SMALL_DISK = 512 * 1024
HOLDER = """
import asyncio, sys
from common.settings import StorageSettings
from common.storage import open_storage
from common.storage.base import Segment, UploadKey
from tests.contract.storage_parts import Body, CHUNK

async def hold(root, upload_id):
    storage = open_storage(StorageSettings.model_validate({"storage_url": f"file://{root}", "min_free_bytes": 0}))
    body = Body(bytes(CHUNK), hold_at=CHUNK // 2)
    writing = asyncio.create_task(storage.write(UploadKey("default", upload_id), Segment(0, CHUNK), body))
    await body.held.wait()
    print("held", flush=True)
    await writing

asyncio.run(hold(*sys.argv[1:]))
"""


@pytest.fixture
async def other_process(root: Path, upload: UploadKey, opened: OpenLocal) -> AsyncIterator[subprocess.Popen[str]]:
    """A process that is in the middle of writing chunk 0 and gets no further."""
    await opened().begin(*beginning(upload, CHUNK))
    with holder(root, upload) as process:
        yield process


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder where half a MiB is the end: a tmpfs where it can be mounted, else the process's limit on file sizes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files and folders that were synced, in order."""
    names: list[str] = []

    def recording(sync: Callable[[int], None]) -> Callable[[int], None]:
        def record(descriptor: int) -> None:
            names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
            sync(descriptor)

        return record

    monkeypatch.setattr(os, "fsync", recording(os.fsync))
    monkeypatch.setattr(os, "fdatasync", recording(os.fdatasync))
    return names


@contextmanager
def holder(root: Path, upload: UploadKey) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(root), upload.upload_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def test_two_gateways_fill_one_upload(opened: OpenLocal, upload: UploadKey, content: bytes) -> None:
    gateways = opened(), opened()
    await gateways[0].begin(*beginning(upload, len(content)))
    for number, offset in enumerate(range(0, len(content), CHUNK)):
        await put(gateways[number % 2], upload, offset, content[offset : offset + CHUNK])
    assert await gateways[0].receipts(upload) == await gateways[1].receipts(upload)
    assert len(await gateways[0].receipts(upload)) == 4


async def test_a_failed_sync_is_final_for_its_write(
    opened: OpenLocal, upload: UploadKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(durability="chunk")
    await storage.begin(*beginning(upload, CHUNK))
    calls: list[int] = []

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "sync failed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(StorageUnavailable):
            await put(storage, upload, 0, DATA)
    assert len(calls) == 1
    assert await storage.receipts(upload) == []
    assert await put(storage, upload, 0, DATA) == receipt_of(0, DATA)


async def test_a_chunk_is_durable_before_its_receipt(opened: OpenLocal, upload: UploadKey, syncs: list[str]) -> None:
    storage = opened(durability="chunk")
    await storage.begin(*beginning(upload, 2 * CHUNK))
    syncs.clear()
    await put(storage, upload, 0, DATA)
    journal = syncs[1]
    assert journal.startswith("receipts-")
    assert syncs == ["data", journal, upload.upload_id]
    syncs.clear()
    await put(storage, upload, CHUNK, DATA)
    assert syncs == ["data", journal]


async def test_a_chunk_sent_again_makes_its_receipt_durable(
    opened: OpenLocal, upload: UploadKey, syncs: list[str]
) -> None:
    await opened(durability="none").begin(*beginning(upload, CHUNK))
    await put(opened(durability="none"), upload, 0, DATA)
    assert syncs == []
    await put(opened(durability="chunk"), upload, 0, DATA)
    assert [name.partition("-")[0] for name in syncs] == ["receipts"]


@pytest.mark.parametrize("durability", ["finalize", "none"])
async def test_nothing_is_synced_before_it_has_to_be(
    opened: OpenLocal, upload: UploadKey, syncs: list[str], durability: str
) -> None:
    storage = opened(durability=durability)
    await storage.begin(*beginning(upload, CHUNK))
    await put(storage, upload, 0, DATA)
    assert syncs == []


async def test_a_begun_upload_is_durable(opened: OpenLocal, root: Path, upload: UploadKey, syncs: list[str]) -> None:
    await opened(durability="chunk").begin(*beginning(upload, CHUNK))
    assert {upload.upload_id, "uploads", upload.tenant, root.name, root.parent.name} == set(syncs)


async def test_a_disk_that_fills_up_in_the_middle_of_a_chunk(
    opened: OpenLocal, upload: UploadKey, small_disk: Path
) -> None:
    storage = opened(small_disk)
    await storage.begin(*beginning(upload, None))
    large = random_bytes(2 * SMALL_DISK)
    with pytest.raises(InsufficientStorage):
        await put(storage, upload, 0, large)
    assert await storage.receipts(upload) == []
    await storage.abort(upload)
    await storage.begin(*beginning(upload, None))
    assert await put(storage, upload, 0, DATA) == receipt_of(0, DATA)


async def test_writes_stop_at_the_reserve_but_stored_chunks_may_come_again(
    opened: OpenLocal, upload: UploadKey
) -> None:
    roomy, full = opened(), opened(min_free_bytes=1 << 60)
    await roomy.begin(*beginning(upload, 2 * CHUNK))
    await put(roomy, upload, 0, DATA)
    body = Body(DATA)
    with pytest.raises(InsufficientStorage):
        await full.write(upload, Segment(CHUNK, CHUNK), body)
    assert not body.started
    assert await put(full, upload, 0, DATA) == receipt_of(0, DATA)


async def test_a_stalled_writer_in_another_process_keeps_its_chunk(
    other_process: subprocess.Popen[str], opened: OpenLocal, upload: UploadKey
) -> None:
    with pytest.raises(ChunkBusy) as busy:
        await put(opened(chunk_lock_wait=0), upload, 0, DATA)
    assert busy.value.retry_after is not None


async def test_a_killed_writer_holds_nothing(
    other_process: subprocess.Popen[str], opened: OpenLocal, upload: UploadKey
) -> None:
    other_process.kill()
    other_process.wait()
    assert await put(opened(chunk_lock_wait=0), upload, 0, DATA) == receipt_of(0, DATA)


async def test_no_chunk_is_taken_while_a_sealer_has_the_data(
    opened: OpenLocal, upload: UploadKey, paths: UploadPaths
) -> None:
    storage = opened()
    await storage.begin(*beginning(upload, CHUNK))
    with paths.data.open("r+b") as sealer:
        fcntl.flock(sealer, fcntl.LOCK_EX)
        with pytest.raises(UploadNotOpen):
            await put(storage, upload, 0, DATA)
    assert await put(storage, upload, 0, DATA) == receipt_of(0, DATA)


@pytest.mark.parametrize(("read_ahead", "most"), [(True, 2), (False, 1)], ids=["enough memory", "memory is short"])
async def test_one_batch_is_gathered_while_one_is_written_if_there_is_memory_for_it(
    opened: OpenLocal, upload: UploadKey, monkeypatch: pytest.MonkeyPatch, read_ahead: bool, most: int
) -> None:
    storage = opened()
    await storage.begin(*beginning(upload, CHUNK))
    gate, body, pwritev = threading.Event(), Body(DATA, batch=4096), os.pwritev
    body.read_ahead = read_ahead
    ahead: list[int] = []

    def slow(descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        gate.wait(0.02)  # never set: a disk slower than the source
        ahead.append(body.length - offset)
        return pwritev(descriptor, buffers, offset)

    monkeypatch.setattr(os, "pwritev", slow)
    await storage.write(upload, Segment(0, CHUNK), body)
    assert max(ahead) == most * 4096


async def test_a_write_that_fails_while_the_body_breaks_off_tells_of_the_body(
    opened: OpenLocal, upload: UploadKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened()
    await storage.begin(*beginning(upload, CHUNK))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises((ConnectionError, InsufficientStorage)):
        await storage.write(upload, Segment(0, CHUNK), Body(DATA, batch=PART, cut_after=PART))
    assert await storage.receipts(upload) == []


async def test_what_a_crashed_abort_left_is_removed_by_the_next(
    opened: OpenLocal, upload: UploadKey, paths: UploadPaths
) -> None:
    storage = opened()
    await storage.begin(*beginning(upload, CHUNK))
    paths.folder.rename(paths.dying)
    await storage.abort(upload)
    assert names_in(paths.folder.parent) == []


async def test_readiness_leaves_nothing_behind(opened: OpenLocal, root: Path) -> None:
    await opened().check_writable()
    assert names_in(root) == []


async def test_what_a_killed_readiness_check_left_is_removed_by_the_next(opened: OpenLocal, root: Path) -> None:
    await opened().check_writable()
    (root / ".probe").write_bytes(b"x")
    await opened().check_writable()
    assert names_in(root) == []


async def test_readiness_of_many_at_once_is_one_answer(opened: OpenLocal, root: Path) -> None:
    storages = [opened() for _ in range(4)]
    await asyncio.gather(*(storage.check_writable() for storage in storages for _ in range(25)))
    assert names_in(root) == []


async def test_readiness_fails_when_the_disk_is_full(opened: OpenLocal) -> None:
    with pytest.raises(InsufficientStorage):
        await opened(min_free_bytes=1 << 60).check_writable()


async def test_readiness_fails_where_nothing_can_be_written(opened: OpenLocal, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable):
        await opened(tmp_path / "file").check_writable()


async def test_opening_and_closing_fifty_times_leaks_no_descriptor(
    opened: OpenLocal, upload: UploadKey, content: bytes
) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    await opened().begin(*beginning(upload, len(content)))
    before = descriptors()
    for _ in range(50):
        storage = opened(chunk_lock_wait=0)
        held = Body(content[:CHUNK], hold_at=PART)
        writing = asyncio.create_task(storage.write(upload, Segment(0, CHUNK), held))
        await held.held.wait()
        with pytest.raises(ChunkBusy):
            await put(storage, upload, 0, content[:CHUNK])
        writing.cancel()
        await asyncio.wait([writing])
        await put_all(storage, upload, content[CHUNK:], chunk=CHUNK)
        await storage.close()
    assert descriptors() == before


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
