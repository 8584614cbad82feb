"""What this service takes: the settings, and what the storage behind them can take. Pure."""

from __future__ import annotations

from math import ceil

from common.chunking import MIB, agree_chunk_size, default_chunk_size
from common.settings import LimitsSettings
from common.storage.base import ChunkLimits


def fitted(limits: LimitsSettings, storage: ChunkLimits) -> LimitsSettings:
    """The narrower of the two, so that what is advertised and what is refused agree."""
    return limits.model_copy(
        update={
            "chunk_size_min": max(limits.chunk_size_min, storage.smallest),
            "chunk_size_max": min(limits.chunk_size_max, storage.largest),
            "max_chunks": min(limits.max_chunks, storage.most),
        }
    )


def chunk_size_of_stream(limits: LimitsSettings, storage: ChunkLimits, length: int | None) -> int:
    """For a file in one request of `length` bytes. With an open end the chunks are as for the largest file, so that
    they can never be too many, or as large as the storage takes them unmeasured."""
    if length is None:
        size = default_chunk_size(limits.max_file_size, limits.max_chunks)
        return min(size, storage.unmeasured or size)
    return agree_chunk_size(
        length, None, smallest=limits.chunk_size_min, largest=limits.chunk_size_max, max_chunks=limits.max_chunks
    )


def chunk_size_of_appends(limits: LimitsSettings, storage: ChunkLimits, size: int | None) -> int:
    """For an upload of `size` bytes (None: told later) that comes as a stream: the parts that it is put together of,
    where the storage holds each in memory, and otherwise what damage is named by. Raises FileTooLarge."""
    usual = chunk_size_of_stream(limits, storage, size)
    if storage.unmeasured is None or size is None:
        return usual
    return max(storage.unmeasured, ceil(size / limits.max_chunks / MIB) * MIB)
