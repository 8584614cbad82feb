"""The statement on the one row that names the storage of this database."""

from __future__ import annotations

from sqlalchemy import select

from common.db.models import StorageIdentity
from common.db.statements import Statements

ONLY = "default"  # one database knows one storage


class Storages(Statements):
    """For start-up: all tenants share the storage."""

    async def known(self) -> str | None:
        """The id of the storage; None before the first start."""
        found: str | None = await self._session.scalar(
            select(StorageIdentity.storage_id).where(StorageIdentity.name == ONLY)
        )
        return found

    async def remember(self, storage_id: str) -> None:
        """Raises IntegrityError when there is one already."""
        self._session.add(StorageIdentity(name=ONLY, storage_id=storage_id))
        await self._session.flush()
