"""Reads that leave nothing behind in the page cache, where the kernel can do that."""

import ctypes
import errno
import hashlib
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from common.digests import SHA_256, StreamHasher
from common.storage.ahead import checking
from common.storage.base import SealWatch, Segment
from common.storage.readback import read_back
from common.storage.uncached import RWF_DONTCACHE, UncachedReads

SIZE = 1024 * 1024
CONTENT = os.urandom(SIZE)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "file", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def evicted(file: int) -> int:
    """The file with none of it in the page cache; skipped where that, or such reading, is not to be had."""
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    if is_cached(file, 0):
        pytest.skip("this file system gives nothing up from the page cache")
    try:
        os.preadv(file, [bytearray(1)], SIZE - 1, RWF_DONTCACHE)
    except (OSError, RuntimeError) as error:
        pytest.skip(f"the kernel or the file system has no uncached reads: {error}")
    return file


def is_cached(descriptor: int, offset: int) -> bool:
    """By mincore(2): a read that does not wait would begin to read ahead."""
    with mmap.mmap(descriptor, SIZE) as mapped:
        pages = (ctypes.c_ubyte * (SIZE // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(ctypes.byref(start), ctypes.c_size_t(SIZE), pages)
        del start  # or it could not be unmapped
    assert not failed
    return bool(pages[offset // mmap.PAGESIZE] & 1)


def read(reads: UncachedReads) -> bytes:
    buffer = bytearray(SIZE)
    assert reads.into([memoryview(buffer)], 0) == SIZE
    return bytes(buffer)


def test_what_was_not_in_the_page_cache_is_not_there_afterwards(evicted: int) -> None:
    assert read(UncachedReads(evicted)) == CONTENT
    assert not is_cached(evicted, 0)


def test_what_was_in_the_page_cache_stays_there(evicted: int) -> None:
    os.pread(evicted, SIZE, 0)
    assert read(UncachedReads(evicted)) == CONTENT
    assert is_cached(evicted, 0)


def test_verifying_leaves_nothing_in_the_page_cache(evicted: int) -> None:
    watch = SealWatch(lambda done: None, threading.Event(), lambda: True)
    found = read_back(evicted, [Segment(0, SIZE)], StreamHasher([SHA_256]), watch)
    with checking(evicted, [Segment(0, SIZE)], watch) as checks:
        assert checks.crcs() == found.crcs
    assert found.digests == {SHA_256: hashlib.sha256(CONTENT).digest()}
    assert not is_cached(evicted, SIZE // 2)


def refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "refused",
    [
        *map(refusal, (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)),
        RuntimeError("preadv2: flags unavailable on this platform"),
    ],
    ids=repr,
)
def test_a_machine_that_cannot_is_asked_once_and_read_from_as_usual(
    file: int, refused: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv, asked = os.preadv, []

    def old(descriptor: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        asked.append(flags)
        if flags:
            raise refused
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", old)
    reads = UncachedReads(file)
    assert read(reads) == read(reads) == CONTENT
    assert asked == [RWF_DONTCACHE, 0, 0]


def test_an_error_of_the_disk_is_raised(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OSError, match="broken"):
        read(UncachedReads(file))
