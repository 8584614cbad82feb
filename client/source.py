"""Where the bytes of an upload come from. Reads are positioned and run in threads, one piece of at most 1 MiB at a
time, so memory does not grow with the file or the chunk."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

from client.errors import FileChangedError, InvalidArgumentError

PIECE = 1024 * 1024
"""Bytes read and sent at once."""


class Source(Protocol):
    """Bytes of a known size that can be read again."""

    name: str
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; called in threads, several at once."""

    def check(self) -> None:
        """Raise FileChangedError when the bytes are not those the source was opened with."""


class FileSource:
    """A regular file, opened once; size and modification time are compared with those seen at the opening."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        # A name that is no UTF-8 on disk cannot be said in JSON; its readable part can.
        self.name = os.fsencode(self.path.name).decode("utf-8", "replace")
        if self.path.is_dir():
            raise InvalidArgumentError(f"{self.path} is a folder; give the files in it")
        # Asked before opening: opening a named pipe would wait for its writer.
        if self.path.exists() and not self.path.is_file():
            raise InvalidArgumentError(f"{self.path} is not a regular file")
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._fd)
        self.size = found.st_size
        self.mtime_ns = found.st_mtime_ns

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def check(self) -> None:
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise FileChangedError(f"{self.path} changed while it was being uploaded; start again when it is written")


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def check(self) -> None:
        """Bytes do not change."""


async def pieces(source: Source, offset: int, length: int) -> AsyncIterator[bytes]:
    """The bytes [offset, offset+length) in pieces. Raises FileChangedError when they end early."""
    end = offset + length
    while offset < end:
        piece = await asyncio.to_thread(source.read, offset, min(PIECE, end - offset))
        if not piece:
            source.check()
            raise FileChangedError(f"{source.name} ended early while it was being uploaded")
        offset += len(piece)
        yield piece


async def sha256_of(source: Source, offset: int, length: int) -> bytes:
    """SHA-256 of the bytes [offset, offset+length); reading and hashing happen in threads."""
    return await digest_of("sha256", source, offset, length)


async def digest_of(name: str, source: Source, offset: int, length: int) -> bytes:
    """As `sha256_of`, by the name that hashlib knows; against damage on the way, not against people."""
    hasher = hashlib.new(name, usedforsecurity=False)
    async for piece in pieces(source, offset, length):
        await asyncio.to_thread(hasher.update, piece)
    return hasher.digest()
