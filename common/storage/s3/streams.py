"""Uploads that come as streams: a log of what was appended, of which only the first can write the next entry.

An append puts its bytes into objects of its own and then writes down, in one small object named by the offset, which
they are. That name can be taken once (`If-None-Match`), so of two appends at one offset one counts, whatever processes
they talk to, and there is nothing to be cleaned up after one that died: its bytes are in no entry. The objects are put
together when the upload is sealed (`composing`), and go with the upload.

A stream whose size is known to be reached ends with an entry that takes no more: what seals it has closed it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from common.errors import ChunksMissing, LeaseLost, UploadNotOpen
from common.storage.base import Receipt, SealWatch, UploadKey
from common.storage.s3.context import Store
from common.storage.s3.keys import offset_of_entry
from common.storage.s3.records import Entry, StoredPiece
from common.storage.s3.uploads import Upload, Uploads, delete_objects
from common.storage.tiling import tile

REMEMBERED = 10_000  # entries, by key and ETag: one that was cut is read again
AT_ONCE = 32  # requests


class Streams:
    """The logs of all streams, as this process sees them."""

    def __init__(self, store: Store, uploads: Uploads) -> None:
        self._store = store
        self._uploads = uploads
        self._known: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._last: OrderedDict[UploadKey, tuple[str, int]] = OrderedDict()  # life, and offset of the newest entry

    async def end(self, key: UploadKey) -> int:
        """Where the next append begins. Raises FileNotFoundError."""
        return (await self.state(key))[0]

    async def state(self, key: UploadKey) -> tuple[int, bool]:
        """Where it ends, and whether it takes no more. Raises FileNotFoundError."""
        upload = await self._uploads.look(key)
        last = await self._newest(upload)
        if last is None or not last.closed:
            return (0 if last is None else last.end), False
        entries = await self._entries(upload, 0)
        return (entries[-1][1].end if entries else 0), True

    async def pieces(self, upload: Upload) -> list[StoredPiece]:
        """All that was appended, by offset."""
        entries = await self._entries(upload, 0)
        return [piece for _, entry in entries for piece in entry.pieces]

    async def write(self, upload: Upload, entry: Entry) -> bool:
        """Take the next place in the log; False where it is another's. Raises FileNotFoundError where the upload has
        ended meanwhile, UploadNotOpen where it is closed."""
        key = upload.keys.entry(entry.offset)
        if not await self._store.put_once(key, entry.pack()):
            content, _ = await self._store.client.get(key)
            standing = Entry.unpack(content)
            if standing.closed:
                raise UploadNotOpen("The upload is being finalized; it takes no bytes now.")
            if standing != entry:  # ours, where an answer was lost and the client tried again
                return False
        try:
            await self._uploads.require(upload)
        except FileNotFoundError:  # aborted meanwhile: nobody would find what we leave
            await delete_objects(self._store, [key, *(piece.key for piece in entry.pieces)])
            raise
        return True

    async def close(self, upload: Upload, size: int) -> None:
        """No more appends."""
        await self._store.put_once(upload.keys.entry(size), Entry(size, (), closed=True).pack())

    async def cut(self, upload: Upload, offset: int) -> None:
        """Only what is in front of `offset` counts, and appends are taken again. The caller holds the lease."""
        for name, entry in reversed(await self._entries(upload, 0, closed=True)):
            kept = tuple(piece for piece in entry.pieces if piece.offset + piece.length <= offset)
            if kept == entry.pieces and not entry.closed:
                break
            if kept:
                await self._store.client.call("put_object", Key=name, Body=Entry(entry.offset, kept).pack())
            else:
                await self._store.client.call("delete_object", Key=name)
        self._last.pop(upload.key, None)

    async def join(self, upload: Upload, parts: Sequence[tuple[UploadKey, int]], watch: SealWatch) -> None:
        """As `common.storage.streaming.Concatenates.concatenate`: nothing is copied, the log names others' pieces."""
        total = sum(size for _, size in parts)
        if not tile(receipts_of(await self.pieces(upload)), total).holes:
            return
        found: list[StoredPiece] = []
        start = 0
        for key, size in parts:
            pieces = await self.pieces(await self._uploads.look(key))
            if tile(receipts_of(pieces), size).holes:
                raise ChunksMissing("A part of this upload has not arrived whole.")
            found += [replace(piece, offset=piece.offset + start) for piece in pieces]
            start += size
        if watch.stop.is_set() or not watch.held():
            raise LeaseLost("The lease ran out before the parts were put together.")
        await self.cut(upload, 0)  # what damage has left of an earlier attempt
        if found:
            await self.write(upload, Entry(0, tuple(found)))

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _newest(self, upload: Upload) -> Entry | None:
        """The last entry, looked for from the newest that this process has seen. That may have been cut since."""
        life, offset = self._last.get(upload.key, ("", 0))
        if life != upload.begun.life:
            offset = 0
        names = await self._listed(upload, offset)
        if offset and (not names or offset_of_entry(names[0][0]) != offset):
            names = await self._listed(upload, 0)
        for name in reversed(names):
            entry = (await self._read([name]))[0]
            if entry is not None:
                if not entry.closed:
                    self._remember(upload, entry.offset)
                return entry
        return None

    def _remember(self, upload: Upload, offset: int) -> None:
        self._last[upload.key] = (upload.begun.life, offset)
        self._last.move_to_end(upload.key)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)

    async def _entries(self, upload: Upload, start: int, *, closed: bool = False) -> list[tuple[str, Entry]]:
        """Entries by offset with their keys, from `start` on."""
        names = await self._listed(upload, start)
        found = zip(names, await self._read(names), strict=True)
        return [(name, entry) for (name, _), entry in found if entry is not None and (closed or not entry.closed)]

    async def _listed(self, upload: Upload, start: int) -> list[tuple[str, str]]:
        """Keys and ETags of entries at `start` and behind, in order."""
        after = upload.keys.entry(start - 1) if start > 0 else ""
        names: list[tuple[str, str]] = []
        async for page in self._store.client.objects(upload.keys.entries, after=after):
            names += [(found["Key"], found["ETag"]) for found in page.get("Contents", ())]
        return names

    async def _read(self, names: Sequence[tuple[str, str]]) -> list[Entry | None]:
        """Entries; None for one that was cut meanwhile."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def read(name: tuple[str, str]) -> Entry | None:
            if name in self._known:
                return self._known[name]
            async with slots:
                try:
                    content, etag = await self._store.client.get(name[0])
                except FileNotFoundError:
                    return None
            entry = self._known[name[0], etag] = Entry.unpack(content)
            return entry

        found = await asyncio.gather(*map(read, names))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


def receipts_of(pieces: Iterable[StoredPiece]) -> list[Receipt]:
    """What was appended, as every storage tells it."""
    return [Receipt(piece.offset, piece.length, piece.crc64) for piece in pieces]
