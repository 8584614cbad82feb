"""A segment that comes once more."""

from __future__ import annotations

from common.errors import ChunkConflict
from common.storage.base import Receipt, Source


class ReceiptAgain(Receipt):
    """The receipt that a write found there."""

    __slots__ = ()

    @property
    def again(self) -> bool:
        return True


async def compared(known: Receipt, source: Source) -> Receipt:
    """Read a body whose segment is stored already. Raises ChunkConflict unless it is the same."""
    async for _ in source:
        pass
    if (source.length, source.crc64) != (known.length, known.crc64):
        raise conflict()
    return ReceiptAgain(*known)


def conflict() -> ChunkConflict:
    return ChunkConflict("This chunk is stored already, with other bytes. Abort the upload to send another file.")
