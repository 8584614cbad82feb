"""What a storage may be able to do beside `base.Storage`: take uploads as streams, and put them together.

Present or absent, as with the other powers in `base`: surfaces advertise what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from common.storage.base import Receipt, SealWatch, Segment, Source, UploadKey


@dataclass(frozen=True, slots=True)
class Piece:
    """How much of a long body becomes one `append`: so many bytes at the most, and no longer than so many seconds."""

    length: int
    seconds: float


@runtime_checkable
class Appends(Protocol):
    """A storage that takes an upload as one stream: at its end, in segments of any size, one writer at a time.

    The end of a stream is what its receipts cover from byte 0 on without a hole; never the size of a file.
    """

    def piece(self, chunk_size: int, offset: int) -> Piece:
        """What one `append` at `offset` should bring to an upload with chunks of `chunk_size`, so that little is lost
        with the process. More may come where all or nothing shall count."""
        ...

    async def end(self, upload: UploadKey) -> int:
        """Where the next append begins, in bytes: all in front of it is as safe as after a write. It never decreases,
        except where a seal found damage. Raises FileNotFoundError when the upload is not here."""
        ...

    async def widen(self, upload: UploadKey, size: int) -> None:
        """Promise room to an upload that has begun without a size, which is known now; again: nothing. Raises
        InsufficientStorage, FileNotFoundError."""
        ...

    async def append(self, upload: UploadKey, segment: Segment, source: Source) -> Receipt:
        """Store what `source` brings, at most the length of the segment, and return its receipt.

        All of it counts or nothing: to keep what came over a broken connection, the source ends there. The caller has
        checked that the upload is a stream, and its size. Raises OffsetMismatch unless the segment begins at the
        `end`, and otherwise what `Storage.write` raises; ChunkBusy when another connection appends.
        """
        ...


@runtime_checkable
class Concatenates(Protocol):
    """A storage that puts uploads together without their bytes passing through us."""

    async def concatenate(self, upload: UploadKey, parts: Sequence[tuple[UploadKey, int]], watch: SealWatch) -> None:
        """Fill an upload that has begun with the bytes of others, which came by `Appends`, in this order; each with
        its size in bytes. Their receipts become its own. The parts stay as they are.

        The caller holds the lease of the job. Repeating it after a crash at any point gives the same; after `seal` it
        does nothing. Raises FileNotFoundError (the upload or a part is not here), ChunksMissing (a part is not
        whole), InsufficientStorage, LeaseLost, StorageUnavailable.
        """
        ...
