"""An append on its way into the bucket: held in memory piece by piece, because what has come of a body that breaks off
counts, and a store takes a request only whole."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from awscrt import checksums

from common.errors import ChunkBusy, NotAppendable, OffsetMismatch, UploadNotOpen
from common.storage.base import Receipt, Segment, Source, UploadKey
from common.storage.s3.body import HeldBody
from common.storage.s3.context import Store
from common.storage.s3.probe import CRC64, b64_crc64
from common.storage.s3.records import Entry, StoredPiece
from common.storage.s3.streams import Streams
from common.storage.s3.uploads import Upload, Uploads, delete_objects
from common.storage.streaming import Piece

# Bytes that bodies without a slot hold together, as long as that leaves each the least: every piece is a request.
LITTLE_OF_ALL = 32 * 1024 * 1024
LEAST_HELD = 64 * 1024
PIECE_SECONDS = 30.0  # two requests for each, and what is lost of a slow body when a process is killed


class Appender:
    """The appends of one process. `slots`: how many bodies may hold a whole piece of `most` bytes."""

    def __init__(self, store: Store, uploads: Uploads, streams: Streams, slots: asyncio.Semaphore, most: int) -> None:
        self._store = store
        self._uploads = uploads
        self._streams = streams
        self._slots = slots
        self._most = most
        self._appending: dict[UploadKey, asyncio.Lock] = {}
        self._bodies = 0

    @property
    def little(self) -> int:
        """Bytes that a body without a slot may hold: fewer, the more bodies there are."""
        return max(LEAST_HELD, min(self._store.settings.s3_held_chunk, LITTLE_OF_ALL // max(1, self._bodies)))

    def piece(self, chunk_size: int, offset: int) -> Piece:
        """Up to the next part of the future file: one that lies in one object is copied by the store alone."""
        return Piece(min(chunk_size - offset % chunk_size, self._most), PIECE_SECONDS)

    async def append(self, key: UploadKey, segment: Segment, source: Source) -> Receipt:
        """As `common.storage.streaming.Appends.append`."""
        async with self._alone(key):
            end, closed = await self._streams.state(key)
            if closed:
                raise UploadNotOpen("The upload is being finalized; it takes no bytes now.")
            if end != segment.offset:
                raise OffsetMismatch.at(end, segment.offset)
            upload = await self._uploads.find(key)
            if not upload.begun.stream:
                raise NotAppendable("This upload takes chunks.")
            pieces = await _Filling(self, upload, segment.offset).run(source)
            if pieces and not await self._streams.write(upload, Entry(segment.offset, tuple(pieces))):
                await delete_objects(self._store, [piece.key for piece in pieces])
                raise OffsetMismatch.at(await self._streams.end(key), segment.offset)
        return Receipt(segment.offset, source.length, source.crc64)

    @asynccontextmanager
    async def _alone(self, key: UploadKey) -> AsyncIterator[None]:
        """No other append of this process to the same upload meanwhile. Raises ChunkBusy."""
        lock = self._appending.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(self._store.settings.chunk_lock_wait):
                await lock.acquire()
        except TimeoutError:
            raise ChunkBusy("Another connection is appending to this upload. Send it again later.") from None
        try:
            yield
        finally:
            lock.release()
            if not lock.locked() and not getattr(lock, "_waiters", None):
                self._appending.pop(key, None)

    @asynccontextmanager
    async def room(self) -> AsyncIterator[_Room]:
        """What one body may hold."""
        self._bodies += 1
        try:
            async with AsyncExitStack() as stack:
                yield _Room(self, stack, self._slots, self._most)
        finally:
            self._bodies -= 1

    async def put(self, upload: Upload, offset: int, buffers: Sequence[bytes]) -> StoredPiece:
        """Store one piece under a name that nobody knows yet."""
        crc64 = 0
        for buffer in buffers:
            crc64 = checksums.crc64nvme(buffer, crc64)
        key, body = upload.keys.piece(offset, secrets.token_hex(8)), HeldBody(buffers)
        can = await self._store.capabilities()
        checksum: dict[str, Any] = {"ChecksumCRC64NVME": b64_crc64(crc64)}
        if can.trailer != CRC64:
            checksum = {"ContentMD5": base64.b64encode(await asyncio.to_thread(_md5, buffers)).decode()}
        await self._store.client.call("put_object", Key=key, Body=body, ContentLength=len(body), **checksum)
        return StoredPiece(offset, len(body), crc64, key)


def _md5(buffers: Sequence[bytes]) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for buffer in buffers:
        digest.update(buffer)
    return digest.digest()


class _Room:
    """Memory of one body: a little always, a whole piece where there is a slot. Nobody waits for one: a body without
    makes smaller pieces, which cost the store more and the others nothing."""

    def __init__(self, appender: Appender, stack: AsyncExitStack, slots: asyncio.Semaphore, most: int) -> None:
        self._appender = appender
        self._stack = stack
        self._slots = slots
        self._most = most
        self._mine = False

    async def allows(self, held: int) -> bool:
        """Whether more than `held` bytes may be held."""
        if held < self._appender.little or self._mine:
            return held < self._most
        if not self._slots.locked():
            await self._stack.enter_async_context(self._slots)
            self._mine = True
        return self._mine and held < self._most


class _Filling:
    """One body becomes pieces, none of which lies across the border of a part."""

    def __init__(self, appender: Appender, upload: Upload, offset: int) -> None:
        self._appender = appender
        self._upload = upload
        self._offset = offset
        self._held: list[bytes] = []
        self._size = 0
        self._pieces: list[StoredPiece] = []

    async def run(self, source: Source) -> list[StoredPiece]:
        async with self._appender.room() as room:
            async for batch in source:
                for buffer in batch:
                    await self._take(buffer)
                if not await room.allows(self._size):
                    await self._put()
            await self._put()
        return self._pieces

    async def _take(self, buffer: bytes) -> None:
        while buffer:
            to_border = self._upload.begun.chunk_size - (self._offset + self._size) % self._upload.begun.chunk_size
            taken, buffer = buffer[:to_border], buffer[to_border:]
            self._held.append(taken)
            self._size += len(taken)
            if len(taken) == to_border:
                await self._put()

    async def _put(self) -> None:
        if self._size == 0:
            return
        self._pieces.append(await self._appender.put(self._upload, self._offset, self._held))
        self._offset += self._size
        self._held, self._size = [], 0
