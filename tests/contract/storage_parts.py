"""What tests of a storage share: bodies that behave or misbehave, and short forms of the verbs."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from random import Random

from awscrt.checksums import crc64nvme

from common.storage.base import (
    ObjectKey,
    Prefix,
    Receipt,
    SealedObject,
    SealPlan,
    SealWatch,
    Segment,
    Storage,
    UploadKey,
    UploadShape,
    Verify,
    Whole,
)

CHUNK = int(os.environ.get("CONTRACT_CHUNK", "65536"))  # a store that takes no small parts needs larger ones
PIECE = 4096


class Cut(ConnectionResetError):
    """The connection of a body broke. An OSError on purpose: it is not the storage that failed."""


class Body:
    """A `common.storage.base.Source` over bytes in memory.

    It yields batches of `batch` bytes; breaks off after `cut_after` bytes; before the bytes from `hold_at` on it sets
    `held` and waits for `go_on`.
    """

    def __init__(
        self, content: bytes, *, batch: int = 4 * PIECE, cut_after: int | None = None, hold_at: int | None = None
    ) -> None:
        self.length = 0
        self.crc64 = 0
        self.read_ahead = True
        self.started = False
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()
        self._content = content
        self._batch = batch
        self._cut_after = cut_after
        self._hold_at = hold_at

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        self.started = True
        for start in range(0, len(self._content), self._batch):
            await self._hold(start)
            if self._cut_after is not None and start >= self._cut_after:
                raise Cut
            batch = self._content[start : start + self._batch]
            self.length += len(batch)
            self.crc64 = crc64nvme(batch, self.crc64)
            yield [batch[at : at + PIECE] for at in range(0, len(batch), PIECE)]
        await self._hold(len(self._content))
        if self._cut_after is not None and self._cut_after >= len(self._content):
            raise Cut

    async def _hold(self, at: int) -> None:
        if self._hold_at is not None and at >= self._hold_at and not self.held.is_set():
            self.held.set()
            await self.go_on.wait()


@dataclass
class Watcher:
    """Remembers the progress of a seal; can stop it after some bytes."""

    stop_at: int | None = None
    seen: list[int] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def progress(self, done: int) -> None:
        self.seen.append(done)
        if self.stop_at is not None and done >= self.stop_at:
            self.stop.set()

    @property
    def watch(self) -> SealWatch:
        return SealWatch(self.progress, self.stop)


def random_bytes(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)  # not a secret


def beginning(upload: UploadKey, size: int | None, chunk: int = CHUNK) -> tuple[UploadKey, UploadShape]:
    """The arguments of `begin`. An upload of the tests is sealed to the file of the same id."""
    return upload, UploadShape(size, chunk, ObjectKey(upload.tenant, upload.upload_id))


def receipt_of(offset: int, content: bytes) -> Receipt:
    return Receipt(offset, len(content), crc64nvme(content))


def digests_of(content: bytes) -> dict[str, bytes]:
    return {"sha-256": hashlib.sha256(content).digest(), "crc64nvme": crc64nvme(content).to_bytes(8, "big")}


def whole_of(upload: UploadKey, content: bytes) -> Whole:
    """What `put` takes; in several buffers."""
    batch = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    return Whole(*beginning(upload, len(content)), batch, crc64nvme(content))


async def put(storage: Storage, upload: UploadKey, offset: int, content: bytes, length: int | None = None) -> Receipt:
    return await storage.write(upload, Segment(offset, length or len(content)), Body(content))


async def put_all(storage: Storage, upload: UploadKey, content: bytes, chunk: int = CHUNK) -> None:
    for offset in range(0, len(content), chunk):
        await put(storage, upload, offset, content[offset : offset + chunk])


async def seal(
    storage: Storage,
    upload: UploadKey,
    target: ObjectKey,
    content: bytes,
    *,
    chunk: int = CHUNK,
    declared: dict[str, bytes] | None = None,
    verify: Verify = "read",
    watcher: Watcher | None = None,
    prefix: Prefix | None = None,
    whole: Receipt | None = None,
) -> SealedObject:
    plan = SealPlan(target, len(content), chunk, declared or {}, verify, prefix, whole=whole)
    return await storage.seal(upload, plan, (watcher or Watcher()).watch)


async def content_of(storage: Storage, key: ObjectKey, length: int, start: int = 0) -> bytes:
    return b"".join([piece async for piece in await storage.read(key, start, length)])
