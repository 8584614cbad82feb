"""When a final upload has all its bytes: for gateways, which see a part arrive, and for the sweep, which looks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from common.db.models import Upload
from common.states import UploadState
from common.storage.base import Storage, UploadKey
from common.storage.streaming import Appends

AT_ONCE = 16  # parts that are looked at


def announced(found: Sequence[Upload | None]) -> list[Upload] | None:
    """The parts of a final upload, as `Parts.of` gives them; None while one has no size, or when one has ended."""
    parts = [part for part in found if part is not None and part.state == UploadState.OPEN and part.size is not None]
    return parts if len(parts) == len(found) else None


def total(parts: Sequence[Upload]) -> int | None:
    """Bytes of all parts together; None while one of them has no size yet."""
    sizes = [part.size for part in parts]
    return None if None in sizes else sum(size or 0 for size in sizes)


async def all_whole(storage: Storage, parts: Sequence[Upload]) -> bool:
    """Whether all bytes of these parts have arrived. Ends with the first that is not whole; asks for a few at a
    time, so that others get at the storage meanwhile."""
    different = list({part.id: part for part in parts}.values())
    for first in range(0, len(different), AT_ONCE):
        looks = [_is_whole(storage, part) for part in different[first : first + AT_ONCE]]
        if not all(await asyncio.gather(*looks)):
            return False
    return True


async def _is_whole(storage: Storage, part: Upload) -> bool:
    assert isinstance(storage, Appends), "parts have come by it"
    try:
        return await storage.end(UploadKey(part.tenant, part.id)) == part.size
    except FileNotFoundError:
        return False
