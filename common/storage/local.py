"""Storage in a folder: a local disk, or a volume that many gateways and workers mount. This is its manual.

What it needs. Linux; read, write and search permission below ROOT for one user that all processes run as. The file
system must have `flock`, atomic `rename`, sparse files and `statvfs`; range locks of open file descriptions are used
where they are (see `locks` for what is lost without them). `check_writable` fails where `flock` is missing.

What it makes. The files in `layout`; folders are 0750, files 0640, published files 0444 (the umask is applied too). No
name contains text from a client. Beside ROOT nothing is written.

Space. An upload takes its own size once: chunks are written in place and publishing is a rename, so nothing is ever
copied, and there is no temporary space. Files are sparse: declared bytes that have not come cost nothing, therefore
free space is checked when an upload begins (against its size and what other open uploads have still to bring) and at
each write (something must be left above `min_free_bytes`; a stream that has not told its size yet grows beside what is
promised to others). A receipt takes 32 bytes. Putting damaged receipts away takes one more journal for a moment.

Which storage. The mark `.sluice-storage` in ROOT carries an id that the database knows (`identity`, `common.attach`).
Without it a service that was attached once does nothing: the volume is not mounted, or is another one.

Who keeps whom away. A writer has its byte range alone and shares the data file; an append has everything from its
offset on. A sealer has the data file alone for
two moments: to put up the mark `sealing`, behind which it reads back, and to rename. So a sealer that is stopped or
cut off keeps nobody from sealing; a writer that is keeps its own chunk until it goes on or is killed. After every wait
for a lock the path is checked against the open file, so a late writer never touches a published or aborted upload.
The kernel holds all locks: a killed process holds nothing.

Durability. `chunk`: data, then receipt, are synced before a write returns. `finalize`: everything is synced at seal.
`none`: nothing ever is. A failed sync is final for its write; the caller gets StorageUnavailable and sends again.

NFS. Version 4 with locks (`flock` is a byte-range lock there and works between clients). Journals have one writer
each, so nothing depends on O_APPEND between clients. Mount with `acdirmax=0,lookupcache=none`, or a gateway may see
the journal of another some seconds late: a chunk sent again to another gateway in that time is written twice, which
is harmless with the same bytes and found at seal with others.
"""

from __future__ import annotations

import asyncio
import fcntl
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import ChunkBusy, StorageUnavailable
from common.settings import StorageSettings
from common.storage import folder, inventory
from common.storage.again import compared
from common.storage.ahead import HashedPrefix
from common.storage.base import (
    ChunkLimits,
    ObjectKey,
    Prefix,
    Receipt,
    SealedObject,
    SealPlan,
    SealWatch,
    Segment,
    Source,
    UploadKey,
    UploadShape,
    Whole,
)
from common.storage.durable import Folders, free_bytes, require_space, sync_folder
from common.storage.identity import Identity
from common.storage.inventory import Promises
from common.storage.joining import Joining, Piece
from common.storage.layout import Layout, UploadPaths
from common.storage.locks import RangeLocks
from common.storage.onefile import OneFile
from common.storage.reading import FileReader
from common.storage.receipts import Ledger, Ledgers
from common.storage.seal import Sealing
from common.storage.streaming import Piece as AppendPiece
from common.storage.threads import Result, Threads, settled
from common.storage.together import Sealed, Small
from common.storage.writing import Writing, receive

FIRST_PAUSE = 0.02  # seconds between tries for a range lock, doubled up to the longest
LONGEST_PAUSE = 0.25
# A receipt and its syncs for each cost a long append next to nothing (ADR 0013).
APPEND_PIECE = AppendPiece(16 * 1024 * 1024, 5.0)


class LocalStorage:
    """`common.storage.base.Storage` in the folder `root`. The verbs' contract is written there."""

    def __init__(self, root: Path, settings: StorageSettings) -> None:
        self._root = root.absolute()
        self._settings = settings
        self._layout = Layout(self._root)
        self._identity = Identity(self._root)
        self._folders = Folders(self._root)
        self._ledgers = Ledgers()
        self._promises = Promises(self._root, settings.min_free_bytes)
        self._ranges = RangeLocks()
        self._one_file = OneFile(self._layout, self._folders, self._promises, settings.durability, self._make)
        self._threads = Threads(settings.storage_threads, "storage")
        # Seals run for minutes; in threads of their own they do not keep short calls waiting.
        self._sealers = Threads(settings.storage_threads, "seal")

    @property
    def chunk_limits(self) -> ChunkLimits:
        return ChunkLimits()

    async def begin(self, upload: UploadKey, shape: UploadShape) -> None:
        await self._here(self._make, self._layout.upload(upload), shape.size or 0)

    async def write(self, upload: UploadKey, segment: Segment, source: Source) -> Receipt:
        return await self._take(self._writing(self._layout.upload(upload), segment), segment, source)

    async def _take(self, writing: Writing, segment: Segment, source: Source) -> Receipt:
        try:
            await self._enter(writing)
            if writing.known is not None:
                return await compared(writing.known, source)
            await receive(self._threads, writing, segment.offset, source)
            receipt = Receipt(segment.offset, source.length, source.crc64)
            if receipt.length > 0:  # nothing is nothing to prove
                await self._threads.run(writing.finish, receipt)
            return receipt
        finally:
            if not writing.closed:
                await self._threads.run(writing.close)

    def piece(self, chunk_size: int, offset: int) -> AppendPiece:
        del chunk_size, offset  # receipts may be of any size, and lie anywhere
        return APPEND_PIECE

    async def end(self, upload: UploadKey) -> int:
        paths = self._layout.upload(upload)
        return await self._here(partial(self._ledger(paths).end, durable=self._settings.durability == "chunk"))

    async def widen(self, upload: UploadKey, size: int) -> None:
        await self._here(partial(folder.widen, self._layout.upload(upload), size, promises=self._promises))

    async def append(self, upload: UploadKey, segment: Segment, source: Source) -> Receipt:
        return await self._take(self._writing(self._layout.upload(upload), segment, append=True), segment, source)

    async def concatenate(self, upload: UploadKey, parts: Sequence[tuple[UploadKey, int]], watch: SealWatch) -> None:
        paths = self._layout.upload(upload)
        pieces = [Piece(there := self._layout.upload(key), self._ledger(there), size) for key, size in parts]
        joining = Joining(
            paths,
            self._ledger(paths),
            watch,
            promises=self._promises,
            require_space=lambda size: require_space(self._root, size, self._settings.min_free_bytes),
            durable=self._settings.durability == "chunk",
        )
        await settled(self._sealers.start(self._identified, joining.run, pieces), on_cancel=watch.stop.set)

    async def put(self, wholes: Sequence[Whole]) -> list[Receipt | Exception]:
        return await self._here(self._one_file.put, wholes)

    async def receipts(self, upload: UploadKey) -> list[Receipt]:
        return await self._here(self._receipts, self._layout.upload(upload))

    async def seal_together(self, smalls: Sequence[Small]) -> list[Sealed | Exception]:
        def stop() -> None:
            for small in smalls:
                small.watch.stop.set()

        return await settled(self._sealers.start(self._identified, self._one_file.seal, smalls), on_cancel=stop)

    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        paths = self._layout.upload(upload)
        if plan.whole is not None:
            (sealed,) = await self.seal_together([Small(upload, plan, watch)])
            if isinstance(sealed, Exception):
                raise sealed
            return sealed.file
        sealing = Sealing(
            paths,
            self._layout.file(plan.target),
            plan,
            watch,
            ledger=self._ledger(paths),
            folders=self._folders,
            durability=self._settings.durability,
        )
        # Cancelled means that nobody waits for the answer: stop instead of reading on to the end.
        return await settled(self._sealers.start(self._identified, sealing.run), on_cancel=watch.stop.set)

    def prefix(self, upload: UploadKey) -> HashedPrefix:
        paths = self._layout.upload(upload)
        return HashedPrefix(paths, self._ledger(paths))

    async def hash_ahead(self, prefix: Prefix, stop: threading.Event) -> bool:
        assert isinstance(prefix, HashedPrefix), "made by `prefix`"
        return await settled(self._sealers.start(self._identified, prefix.advance, stop), on_cancel=stop.set)

    async def abort(self, upload: UploadKey) -> None:
        paths = self._layout.upload(upload)
        self._ledgers.forget(paths.folder)
        await self._here(self._remove, paths)

    async def read(self, key: ObjectKey, start: int, length: int) -> AsyncIterator[bytes]:
        await self._here(_nothing)
        reader = FileReader(self._threads, self._layout.file(key), start, length)
        await reader.open()
        return reader

    async def locate(self, key: ObjectKey) -> str:
        path = self._layout.file(key)
        await self._here(path.stat)
        return str(path.relative_to(self._root))

    async def delete(self, key: ObjectKey) -> None:
        await self._here(self._delete, self._layout.file(key))

    async def uploads(self) -> AsyncIterator[list[UploadKey]]:
        for tenant in await self._here(inventory.tenants, self._root):
            yield await self._here(inventory.stored_uploads, self._root, tenant)

    async def objects(self) -> AsyncIterator[list[ObjectKey]]:
        for tenant in await self._here(inventory.tenants, self._root):
            batches = inventory.stored_objects(self._root, tenant)
            while (batch := await self._here(next, batches, None)) is not None:
                yield batch

    async def unsealed(self) -> AsyncIterator[list[ObjectKey]]:
        """None: until the rename nothing lies where files are."""
        nothing: list[list[ObjectKey]] = []
        for batch in nothing:
            yield batch

    async def last_activity(self, upload: UploadKey) -> datetime | None:
        return await self._here(folder.newest, self._layout.upload(upload).folder)

    async def check_writable(self) -> None:
        await self._here(self._check_writable)

    async def free_bytes(self) -> int:
        try:
            return await self._here(free_bytes, self._root)
        except FileNotFoundError as error:
            raise StorageUnavailable("The storage folder is not there.") from error

    async def identity(self) -> str | None:
        return await self._threads.run(self._identity.read)

    async def initialise(self, storage_id: str) -> str:
        return await self._threads.run(self._identity.initialise, storage_id)

    def expect(self, storage_id: str) -> None:
        self._identity.expect(storage_id)

    async def close(self) -> None:
        await self._threads.close()
        await self._sealers.close()

    async def _here(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call `function` in a thread, where the storage is the one that is expected."""
        return await self._threads.run(self._identified, function, *args)

    def _identified(self, function: Callable[..., Result], *args: Any) -> Result:
        self._identity.check()
        return function(*args)

    def _ledger(self, paths: UploadPaths) -> Ledger:
        return self._ledgers.of(paths.folder)

    async def _enter(self, writing: Writing) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.chunk_lock_wait
        pause = FIRST_PAUSE
        while not await self._here(writing.enter):
            left = deadline - loop.time()
            if left <= 0:
                raise ChunkBusy("Another connection is sending this chunk. Wait for it, or send it again later.")
            await asyncio.sleep(min(pause, left))  # the kernel's locks cannot be awaited
            pause = min(pause * 2, LONGEST_PAUSE)

    def _writing(self, paths: UploadPaths, segment: Segment, *, append: bool = False) -> Writing:
        return Writing(
            paths,
            segment,
            ledger=self._ledger(paths),
            ranges=self._ranges,
            require_space=partial(require_space, self._root, 1, self._settings.min_free_bytes),
            require_room=self._promises.require,
            durable=self._settings.durability == "chunk",
            append=append,
        )

    def _receipts(self, paths: UploadPaths) -> list[Receipt]:
        try:
            return self._ledger(paths).receipts()
        except FileNotFoundError:
            return self._one_file.receipts(paths)

    def _remove(self, paths: UploadPaths) -> None:
        self._one_file.remove(paths)
        folder.remove(paths, durable=self._settings.durability != "none")

    def _make(self, paths: UploadPaths, size: int) -> None:
        durable = self._settings.durability == "chunk"
        folder.make(paths, size, folders=self._folders, promises=self._promises, durable=durable)

    def _delete(self, file: Path) -> None:
        try:
            file.unlink()
        except FileNotFoundError:
            return
        if self._settings.durability != "none":
            sync_folder(file.parent)

    def _check_writable(self) -> None:
        probe = self._root / ".probe"  # one name for all: what a killed process leaves is taken by the next
        try:
            self._folders.ensure(self._root, durable=False)
            with probe.open("wb") as file:
                with suppress(BlockingIOError):  # another process probes: so there are locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.write(b"x")
            probe.unlink(missing_ok=True)
        except FileNotFoundError as error:
            raise StorageUnavailable("The storage folder is not there.") from error
        finally:
            probe.unlink(missing_ok=True)
        require_space(self._root, 0, self._settings.min_free_bytes)


def _nothing() -> None:
    """For a check alone."""
