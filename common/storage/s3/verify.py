"""Reading a sealed object back once: CRC-64/NVME of each piece and digests of the whole, in one pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from common.digests import StreamHasher
from common.errors import LeaseLost
from common.storage.base import Receipt, SealWatch, Segment
from common.storage.readback import PieceCrcs, ReadBack
from common.storage.s3.client import Client
from common.storage.s3.reading import ObjectReader


async def read_object(
    client: Client, key: str, pieces: Sequence[Receipt], algorithms: Iterable[str], watch: SealWatch
) -> ReadBack:
    """While one piece is hashed in a thread the next one arrives. Raises FileNotFoundError, LeaseLost when
    `watch.stop` is set, StorageUnavailable."""
    size = sum(piece.length for piece in pieces)
    whole = StreamHasher(algorithms)
    crcs = PieceCrcs([Segment(piece.offset, piece.length) for piece in pieces])
    reader = ObjectReader(client, key, 0, size)
    hashing: asyncio.Future[None] | None = None
    done = 0

    def work(content: bytes) -> None:
        whole.update(content)
        crcs.update(memoryview(content))

    try:
        await reader.open()
        async for content in reader:
            if watch.stop.is_set():
                raise LeaseLost("The verification was stopped.")
            if hashing is not None:
                await hashing
            hashing = asyncio.get_running_loop().run_in_executor(None, work, content)
            done += len(content)
            watch.progress(done)
        if hashing is not None:
            await hashing
    finally:
        if hashing is not None and not hashing.done():
            await asyncio.wait([hashing])  # the thread still uses the hashers
        await reader.aclose()
    return ReadBack(crcs.finished(), whole.digests())
