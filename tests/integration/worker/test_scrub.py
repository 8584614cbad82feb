"""The scrub: damage in published files is found, told and undone when the bytes come back; its rate is kept."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from common.db.models import File
from common.errors import StorageUnavailable
from common.states import FileState
from tests.integration.worker.rig import TENANT, Rig, until
from worker.scrub import LEAST_CHARGE, Scrub

CONTENT = bytes(range(256)) * 16
DAMAGED_BYTE = 1234


@pytest.fixture
def path_of(tmp_path: Path) -> Any:
    """Where the bytes of a file lie."""
    return lambda file_id: next((tmp_path / "storage" / TENANT / "files").glob(f"*/{file_id}"))


async def overdue(rig: Rig) -> None:
    """Every file was last looked at a year ago."""
    async with rig.database.transaction() as repository:
        await repository.session.execute(update(File).values(scrubbed_at=None))


async def published(rig: Rig, content: bytes = CONTENT, **columns: Any) -> File:
    file = await rig.published(content, **columns)
    await overdue(rig)
    return file


async def scrubbed(rig: Rig) -> list[dict[str, Any]]:
    """Look at everything that is due; the log lines of the scrub."""
    with capture_logs() as logs:
        while await rig.parts.scrub.once():
            pass
    return [dict(line) for line in logs if line["event"].startswith(("file.", "scrub."))]


def flip(path: Path, offset: int = DAMAGED_BYTE) -> None:
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


async def test_a_sound_file_stays_ready_and_is_left_alone_for_a_period(rig: Rig) -> None:
    file = await published(rig)
    assert await scrubbed(rig) == []
    assert (await rig.file(file.id)).state == FileState.READY
    assert rig.counted("scrubbed_bytes_total") == len(CONTENT)
    assert not await rig.parts.scrub.once()


async def test_a_flipped_bit_is_found_marked_counted_and_logged(rig: Rig, path_of: Any) -> None:
    file, other = await published(rig), await published(rig)
    flip(path_of(file.id))

    lines = await scrubbed(rig)

    [line] = lines
    assert (line["event"], line["log_level"], line["file_id"]) == ("file.corrupt", "error", file.id)
    assert (await rig.file(file.id)).state == FileState.CORRUPT
    assert (await rig.file(other.id)).state == FileState.READY
    assert rig.counted("files_corrupt_total") == 1


async def test_a_file_without_bytes_is_marked(rig: Rig, path_of: Any) -> None:
    file = await published(rig)
    path_of(file.id).unlink()
    assert [line["event"] for line in await scrubbed(rig)] == ["file.corrupt"]
    assert (await rig.file(file.id)).state == FileState.CORRUPT


async def test_a_file_that_lost_its_end_is_marked(rig: Rig, path_of: Any) -> None:
    file = await published(rig)
    path_of(file.id).chmod(0o640)
    with path_of(file.id).open("r+b") as opened:
        opened.truncate(len(CONTENT) - 1)
    assert [line["event"] for line in await scrubbed(rig)] == ["file.corrupt"]


async def test_a_file_that_was_verified_by_its_receipts_is_compared_by_its_crc(rig: Rig, path_of: Any) -> None:
    trusting = replace(rig.settings, storage=rig.settings.storage.model_copy(update={"verify": "receipts"}))
    other = Rig(trusting, rig.database, rig.storage, rig.redis)
    sound, damaged = await published(other), await published(other)
    assert list(sound.digests) == ["crc64nvme"]
    flip(path_of(damaged.id))
    assert [line["file_id"] for line in await scrubbed(rig)] == [damaged.id]


async def test_an_empty_file_is_sound(rig: Rig) -> None:
    file = await published(rig, b"")
    assert await scrubbed(rig) == []
    assert (await rig.file(file.id)).state == FileState.READY


async def test_a_file_whose_bytes_were_put_back_is_ready_again(rig: Rig, path_of: Any) -> None:
    file = await published(rig)
    flip(path_of(file.id))
    await scrubbed(rig)
    flip(path_of(file.id))
    await overdue(rig)

    lines = await scrubbed(rig)

    assert [line["event"] for line in lines] == ["file.sound_again"]
    assert (await rig.file(file.id)).state == FileState.READY


async def test_damage_is_told_once(rig: Rig, path_of: Any) -> None:
    file = await published(rig)
    path_of(file.id).unlink()
    await scrubbed(rig)
    await overdue(rig)
    assert await scrubbed(rig) == []
    assert rig.counted("files_corrupt_total") == 1


async def test_a_file_that_is_deleted_while_it_is_read_is_not_reported(
    rig: Rig, path_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await published(rig)
    flip(path_of(file.id))
    real = rig.storage.read

    async def deleting(*arguments: Any) -> Any:
        async with rig.database.transaction() as repository:
            await repository.files.start_delete(TENANT, file.id)
        return await real(*arguments)

    monkeypatch.setattr(rig.storage, "read", deleting)
    assert await scrubbed(rig) == []
    assert rig.counted("files_corrupt_total") == 0


@pytest.mark.parametrize("fault", [StorageUnavailable("The disk is away."), RuntimeError("a bug")])
async def test_a_storage_that_fails_is_no_damage_and_no_end_of_the_scrub(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    file = await published(rig)

    async def broken(*_: object) -> None:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(rig.storage, "read", broken)
        lines = await scrubbed(rig)
    assert [(line["event"], line["file_id"]) for line in lines] == [("scrub.failed", file.id)]
    assert (await rig.file(file.id)).state == FileState.READY


def with_scrub(rig: Rig, **worker: Any) -> Scrub:
    settings = replace(rig.settings, worker=rig.settings.worker.model_copy(update=worker))
    return Scrub(Rig(settings, rig.database, rig.storage, rig.redis).context)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_rate_is_kept(rig: Rig) -> None:
    await published(rig, bytes(3 * 2**20), chunk_size=2**20)
    scrub = with_scrub(rig, scrub_rate=6 * 2**20)
    began = time.monotonic()
    assert await scrub.once()
    assert 0.5 <= time.monotonic() - began < 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_small_files_are_not_looked_at_in_a_rush(rig: Rig) -> None:
    for _ in range(4):
        await rig.published(b"x")
    await overdue(rig)
    scrub = with_scrub(rig, scrub_rate=10 * LEAST_CHARGE)
    began = time.monotonic()
    assert [await scrub.once() for _ in range(5)] == [True] * 4 + [False]
    assert 0.4 <= time.monotonic() - began < 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_period_of_0_turns_it_off(rig: Rig, path_of: Any) -> None:
    file = await published(rig)
    path_of(file.id).unlink()
    running = asyncio.create_task(with_scrub(rig, scrub_period=0).run())
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait([running])
    assert (await rig.file(file.id)).state == FileState.READY


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_worker_that_ends_in_the_middle_of_a_file_leaves_nothing_open(rig: Rig, path_of: Any) -> None:
    file = await published(rig, bytes(2 * 2**20), chunk_size=2**20)
    running = asyncio.create_task(with_scrub(rig, scrub_rate=2**16).run())

    async def is_open() -> bool:
        return opened(path_of(file.id))

    await until(is_open)
    running.cancel()
    await asyncio.wait([running])
    assert not opened(path_of(file.id))


def opened(path: Path) -> bool:
    """Whether this process has the file open."""
    return str(path) in {file.path for file in psutil.Process().open_files()}
