"""How statements are run: compare-and-set updates that report what they moved. Shared by the repository modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate


class Statements:
    """Base of the repository modules: holds the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _changed(self, statement: Update | Delete) -> int:
        """Number of rows that the statement changed: 0 means that the compare of a compare-and-set failed."""
        # Rows are read afresh after a change; keeping loaded objects in step would cost a query each.
        result = await self._session.execute(statement.execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        return int(result.rowcount)

    async def _returned(self, statement: ReturningUpdate[Any]) -> Sequence[Any]:
        """The moved rows, as the database has them now."""
        result = await self._session.scalars(
            statement, execution_options={"synchronize_session": False, "populate_existing": True}
        )
        return result.all()
