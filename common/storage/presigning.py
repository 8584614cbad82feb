"""Direct mode: a storage that takes chunks from clients without us in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.storage.base import UploadKey


@dataclass(frozen=True, slots=True)
class PresignedChunk:
    """Where and how a client sends one chunk to the storage: a `PUT` to `url` with `headers` as they
    are. Sizes in bytes; `length` is 0 where the client decides."""

    index: int
    offset: int
    length: int
    url: str
    headers: dict[str, str]


class PresignsChunks(Protocol):
    """A storage that takes chunks from clients without us in between."""

    async def presigns(self) -> bool:
        """Whether it can: only where it tells the checksum of what it has taken. Raises StorageUnavailable."""
        ...

    async def presign(self, upload: UploadKey, indexes: Sequence[int]) -> list[PresignedChunk]:
        """Requests that anybody may send until they expire. The caller knows that the upload is open and that the
        chunks exist; of an upload without a size they may have any length. Raises FileNotFoundError when the upload
        is not here, StorageUnavailable."""
        ...

    async def measure(self, upload: UploadKey, chunk_size: int) -> None:
        """Say what chunks the client has made, once all of an upload without a size are there; again: nothing.

        Raises FileNotFoundError when the upload is not here, StorageUnavailable.
        """
        ...
