"""Tie a storage to the database that knows what is in it: the first start puts up the mark, later ones expect it."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError

from common.db.database import Database
from common.ids import new_id
from common.storage.base import Identifies


async def attach(database: Database, storage: Identifies) -> None:
    """From here on the storage refuses to work where the mark is missing or another's.

    Repeating it is fine. Raises DatabaseUnavailable, StorageUnavailable.
    """
    async with database.reading() as repository:
        known = await repository.storages.known()
    if known is None:
        known = await storage.identity() or await storage.initialise(new_id())
        try:
            async with database.transaction() as repository:
                await repository.storages.remember(known)
        except IntegrityError:  # another process of ours was first
            async with database.reading() as repository:
                known = await repository.storages.known() or known
    storage.expect(known)
