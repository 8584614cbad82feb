"""Calls in threads: they end before anybody goes on, and their errors are ours."""

import asyncio
import errno
import threading

import pytest

from common.errors import InsufficientStorage, StorageUnavailable
from common.storage.threads import Threads


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


async def test_a_cancelled_call_is_waited_for(gate: threading.Event) -> None:
    threads = Threads(1, "test")
    ended = threading.Event()

    def call() -> None:
        gate.wait()
        ended.set()

    waiting = asyncio.create_task(threads.run(call))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
    await threads.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_no_room_is_insufficient_storage(number: int) -> None:
    await fails_as(InsufficientStorage, OSError(number, "text"))


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EROFS, errno.ESTALE])
async def test_everything_else_is_storage_unavailable(number: int) -> None:
    await fails_as(StorageUnavailable, OSError(number, "text"))


async def test_a_missing_file_stays_a_missing_file() -> None:
    await fails_as(FileNotFoundError, FileNotFoundError(errno.ENOENT, "text"))


async def test_no_path_is_told() -> None:
    assert "secret" not in str(await fails_as(StorageUnavailable, OSError(errno.EIO, "text", "secret")))


async def fails_as(expected: type[Exception], error: OSError) -> Exception:
    threads = Threads(1, "test")

    def call() -> None:
        raise error

    with pytest.raises(expected) as raised:
        await threads.run(call)
    await threads.close()
    return raised.value
