"""Damage found behind the Complete: the good chunks become parts again, of another multipart upload.

A multipart upload cannot be opened again, and no part of it can be removed. So the good chunks are copied through this
process (and compared once more on the way) to a new one, which then takes the place of the old in `multipart`; the
object goes last. A crash before that record leaves everything as it was, one behind it an object that the next seal
removes. It costs one more pass over the file, and happens only where a store has lost or changed bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress

from awscrt import checksums

from common.errors import LeaseLost, StorageUnavailable
from common.storage.base import Receipt, SealWatch
from common.storage.s3.body import StreamBody
from common.storage.s3.context import Store
from common.storage.s3.keys import SINGLE
from common.storage.s3.reading import ObjectReader
from common.storage.s3.uploads import Upload, Uploads
from common.storage.s3.writing import Writer


class Restoring:
    """One return of a bad object to an upload. The caller holds the lease."""

    def __init__(self, store: Store, uploads: Uploads, writer: Writer, target: str, watch: SealWatch) -> None:
        self._store = store
        self._uploads = uploads
        self._writer = writer
        self._target = target
        self._watch = watch

    async def run(self, upload: Upload, pieces: Sequence[Receipt], bad: Collection[Receipt]) -> list[Receipt]:
        """The pieces that have to be sent again: `bad`, and what has gone bad meanwhile."""
        if upload.multipart is None:
            await self._writer.put_away(upload, [SINGLE])
            await self._store.client.call("delete_object", Key=self._target)
            return list(pieces)
        fresh = await self._uploads.new_multipart(upload)
        lost = list(bad)
        try:
            lost += [piece for piece in pieces if piece not in bad and not await self._copy(upload, fresh, piece)]
            self._check_held()
        except BaseException:
            with suppress(StorageUnavailable):
                await self._uploads.abort_multipart(upload, fresh)
            raise
        await self._writer.claims.put_away(upload, [self._part(upload, piece) for piece in lost])
        await self._store.client.call("put_object", Key=upload.keys.multipart, Body=fresh.encode())
        upload.multipart = fresh
        await self._store.client.call("delete_object", Key=self._target)
        return lost

    async def _copy(self, upload: Upload, fresh: str, piece: Receipt) -> bool:
        """False where the bytes are not what they were a moment ago."""
        if self._watch.stop.is_set():
            raise LeaseLost("The verification was stopped.")
        can = await self._store.capabilities()
        reader = ObjectReader(self._store.client, self._target, piece.offset, piece.length)
        body = StreamBody(_Again(reader, piece), piece.length, _nothing)
        checksum = {"ChecksumAlgorithm": can.trailer} if can.trailer else {}
        try:
            await reader.open()
            await self._store.client.call(
                "upload_part", Key=self._target, UploadId=fresh, PartNumber=self._part(upload, piece), Body=body,
                ContentLength=piece.length, **checksum,
            )  # fmt: skip
        except (StorageUnavailable, FileNotFoundError):
            if isinstance(body.error, _Changed):
                return False
            raise
        finally:
            await body.aclose()
            await reader.aclose()
        return True

    def _check_held(self) -> None:
        if not self._watch.held():
            raise LeaseLost("The lease ran out before the damaged chunks were put away.")

    @staticmethod
    def _part(upload: Upload, piece: Receipt) -> int:
        return piece.offset // upload.begun.chunk_size + 1


class _Changed(Exception):  # it never leaves this module
    """The bytes are not those of the receipt."""


class _Again:
    """A stored piece as the source of a part: refuses at its end what is not as it was received."""

    read_ahead = True

    def __init__(self, reader: ObjectReader, piece: Receipt) -> None:
        self.length = 0
        self.crc64 = 0
        self._reader = reader
        self._piece = piece

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        async for content in self._reader:
            self.length += len(content)
            self.crc64 = checksums.crc64nvme(content, self.crc64)
            yield [content]
        if self.crc64 != self._piece.crc64:
            raise _Changed


async def _nothing() -> None:
    """Nobody has to agree: the claim stands already."""
