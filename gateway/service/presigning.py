"""Whether chunks can go from clients to the store without us."""

from __future__ import annotations

from typing import TypeGuard

from common.errors import DirectNotAvailable
from common.storage.base import Storage
from common.storage.presigning import PresignsChunks


def require_presigning(storage: Storage) -> PresignsChunks:
    """The storage as one that signs links. Raises DirectNotAvailable."""
    if not _presigns(storage):
        raise DirectNotAvailable("This service takes all bytes itself; create the upload without transport direct.")
    return storage


async def check_direct(storage: Storage) -> None:
    """Raises DirectNotAvailable where the storage, or the store behind it, cannot take chunks from clients."""
    if not await require_presigning(storage).presigns():
        raise DirectNotAvailable(
            "The store behind this service tells no checksums of parts; create the upload without transport direct."
        )


async def signs_links(storage: Storage) -> bool:
    """Whether the storage, and the store behind it, can. Raises StorageUnavailable."""
    return _presigns(storage) and await storage.presigns()


def _presigns(storage: object) -> TypeGuard[PresignsChunks]:
    return hasattr(storage, "presign")
