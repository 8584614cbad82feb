"""What a storage is: protocols and the values that cross them. Nothing else lives here.

Who has checked what: the callers (`gateway.service`, `worker`) have authenticated, know the tenant, know that the
upload is open as far as a cache can tell, and have checked the declared length. A storage decides whether the upload
is *still* open, because that is where the bytes are. The source of a write has counted and verified every byte before
it ends; a storage never repeats that. Ids are UUIDv7 text made by us: no client text ever reaches a storage.

Missing things are the builtin `FileNotFoundError`; a full disk is `common.errors.InsufficientStorage`; everything else
that goes wrong below is `common.errors.StorageUnavailable`.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from common.chunking import MAX_CHUNKS
from common.digests import Digests

Durability = Literal["chunk", "finalize", "none"]
Verify = Literal["read", "receipts"]


@dataclass(frozen=True, slots=True)
class UploadKey:
    """Names the bytes of an upload in a storage. Made of ids only."""

    tenant: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Names the bytes of a published file in a storage. Made of ids only."""

    tenant: str
    file_id: str


@dataclass(frozen=True, slots=True)
class UploadShape:
    """What is known of an upload when it begins: `size` in bytes (None: a stream whose end is not known), the size of
    its chunks, and where it will be sealed to. `direct`: the client sends the chunks to the storage by itself.
    `stream`: it comes by `streaming.Appends`, not in chunks."""

    size: int | None
    chunk_size: int
    target: ObjectKey
    direct: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """What a storage can take, in bytes. `smallest` does not hold for the last chunk; `most` is a number of chunks;
    `unmeasured` is the largest chunk of a stream whose end is not known (None: as `largest`)."""

    smallest: int = 1
    largest: int = 1 << 62
    most: int = MAX_CHUNKS
    unmeasured: int | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """The byte range `[offset, offset + length)`. For a stream of unknown end `length` is the most it may bring."""

    offset: int
    length: int


class Receipt(NamedTuple):
    """Durable proof that `length` bytes at `offset` are stored; `crc64` is their CRC-64/NVME as it was received.

    A tuple, because a file of 100 GiB has thousands of them.
    """

    offset: int
    length: int
    crc64: int

    @property
    def again(self) -> bool:
        """Whether a write found the receipt there already and only compared. It is no part of the proof."""
        return False


@dataclass(frozen=True, slots=True)
class Whole:
    """All bytes of a small upload, in memory, and their CRC-64/NVME, which the caller has verified."""

    upload: UploadKey
    shape: UploadShape
    batch: Sequence[bytes]
    crc64: int

    @property
    def receipt(self) -> Receipt:
        return Receipt(0, sum(map(len, self.batch)), self.crc64)


class Source(Protocol):
    """The body of one write: an iterator of batches of buffers, in order.

    It ends only after all bytes have arrived whole and are what the client declared; otherwise it raises, and the
    storage must leave no receipt. `length` (bytes) and `crc64` (CRC-64/NVME) hold for everything yielded so far. Where
    memory is short `read_ahead` is False with a batch: the storage asks for the next when it has let go of this one.
    """

    length: int
    crc64: int
    read_ahead: bool

    def __aiter__(self) -> AsyncIterator[Sequence[bytes]]: ...


class Prefix(Protocol):
    """What was hashed of an upload while the rest of it still arrived."""

    @property
    def length(self) -> int:
        """Bytes from the start."""
        ...


@dataclass(frozen=True, slots=True)
class SealPlan:
    """What a sealed upload has to be: `size` bytes in chunks of `chunk_size`, with the digests the client declared.

    `prefix` saves hashing those bytes again. They are read and compared with their receipts all the same. `whole` is
    the receipt of an upload that came by `put`.
    """

    target: ObjectKey
    size: int
    chunk_size: int
    declared: Digests = field(default_factory=dict)
    verify: Verify = "read"
    prefix: Prefix | None = None
    stream: bool = False  # it came by appends: after damage only what is in front of the first hole counts
    whole: Receipt | None = None


@dataclass(frozen=True, slots=True)
class SealedObject:
    """The bytes of a file: whole, verified, durable and in place. `verified` says how."""

    key: ObjectKey
    size: int
    digests: Digests
    verified: Verify


@dataclass(frozen=True, slots=True)
class SealWatch:
    """How the caller follows a seal: `progress(bytes done)` is called from any thread; `stop` ends it early.

    `held()` says, from any thread and at once, whether the lease can still be the caller's; it is asked before anything
    is changed.
    """

    progress: Callable[[int], None]
    stop: threading.Event
    held: Callable[[], bool] = lambda: True


class Identifies(Protocol):
    """A storage that can be told from another one at the same address."""

    async def identity(self) -> str | None:
        """The id in its mark; None before the first start. Raises StorageUnavailable."""
        ...

    async def initialise(self, storage_id: str) -> str:
        """Put up the mark where there is none; the id that stands afterwards."""
        ...

    def expect(self, storage_id: str) -> None:
        """From now on every verb raises StorageUnavailable where the mark is missing or another's."""
        ...


@runtime_checkable
class HashesAhead(Protocol):
    """A storage whose uploads can be read before they are sealed."""

    def prefix(self, upload: UploadKey) -> Prefix:
        """An empty one. It lives in this process only and is used by one caller at a time."""
        ...

    async def hash_ahead(self, prefix: Prefix, stop: threading.Event) -> bool:
        """Hash some more of what has arrived without a hole; False where there is nothing more yet.

        `stop` ends it early. Raises FileNotFoundError when the upload is not (or no longer) here, StorageUnavailable.
        """
        ...


@runtime_checkable
class HasRoom(Protocol):
    """A storage whose room ends."""

    async def free_bytes(self) -> int:
        """What is left of it for everybody. Raises StorageUnavailable."""
        ...


@runtime_checkable
class Locates(Protocol):
    """A storage whose files another program of this machine may read."""

    async def locate(self, key: ObjectKey) -> str:
        """Path of a published file below the storage's root. Raises FileNotFoundError, StorageUnavailable."""
        ...


class Lists(Protocol):
    """A storage that can tell what it holds, in batches. What comes or goes meanwhile may be named or not."""

    def uploads(self) -> AsyncIterator[list[UploadKey]]:
        """Uploads that have bytes here, also those that an abort left half removed: `abort` removes both."""
        ...

    def objects(self) -> AsyncIterator[list[ObjectKey]]:
        """Sealed files, published or not yet."""
        ...

    def unsealed(self) -> AsyncIterator[list[ObjectKey]]:
        """Where files will be, with bytes there already that no reader sees: `delete` removes them."""
        ...


class Storage(Protocol):
    """The core verbs. Every one may be repeated after a crash with the same outcome."""

    @property
    def chunk_limits(self) -> ChunkLimits:
        """What chunks may be like. The caller plans uploads within them; never changes."""
        ...

    async def begin(self, upload: UploadKey, shape: UploadShape) -> None:
        """Make room for an upload. Calling it again changes nothing.

        The caller has inserted the row. Raises InsufficientStorage when free space is below the declared size.
        """
        ...

    async def write(self, upload: UploadKey, segment: Segment, source: Source) -> Receipt:
        """Store a segment and return its receipt once the bytes are as safe as the durability setting asks.

        A segment that has a receipt already is only read and compared: the same bytes give the same receipt, other
        bytes raise ChunkConflict. The first read of `source` happens after the right to write is held. Raises
        FileNotFoundError when the upload is not (or no longer) here, UploadNotOpen while it is being sealed,
        ChunkBusy when another connection holds the segment, InsufficientStorage, StorageUnavailable, and whatever
        `source` raises.
        """
        ...

    async def put(self, wholes: Sequence[Whole]) -> list[Receipt | Exception]:
        """Store whole uploads, each as `begin` and the `write` of all its bytes would; the receipt of each, or what
        went wrong with it: ChunkConflict, InsufficientStorage, StorageUnavailable.

        The caller has inserted the rows, and keeps the receipts: `seal` is given them back in the plan.
        """
        ...

    async def receipts(self, upload: UploadKey) -> list[Receipt]:
        """All receipts by offset. Raises FileNotFoundError when the upload is not here."""
        ...

    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        """Stop writers, verify, make durable, move into place. After a crash at any point it gives the same answer.

        The caller holds the lease of the job, or did: an attempt that hangs keeps no newer one waiting. Until it says
        ChunksDamaged no chunks are taken. Raises ChunksDamaged (their receipts are put away before it returns),
        FileDigestMismatch, FileNotFoundError (neither upload nor target is here), LeaseLost (stopped by the watch, or
        overtaken), StorageUnavailable.
        """
        ...

    async def abort(self, upload: UploadKey) -> None:
        """Remove everything of the upload that is not published: data, receipts, folders. Absent is fine."""
        ...

    async def read(self, key: ObjectKey, start: int, length: int) -> AsyncIterator[bytes]:
        """Open a file and return an iterator over `length` bytes from `start`.

        Raises FileNotFoundError at once when the file, or any of these bytes, is not there.
        The bytes stay readable to the end even if the file is deleted meanwhile. Close the iterator when done.
        """
        ...

    async def delete(self, key: ObjectKey) -> None:
        """Remove a published file. Absent is fine. The caller has made it invisible first."""
        ...

    async def last_activity(self, upload: UploadKey) -> datetime | None:
        """When bytes last arrived (UTC); None when the upload is not here. Used before an upload is expired."""
        ...

    async def check_writable(self) -> None:
        """For readiness: raises StorageUnavailable when nothing can be written, InsufficientStorage when full."""
        ...

    async def close(self) -> None:
        """Release threads and connections. Called last."""
        ...
