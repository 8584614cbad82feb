"""The statement that decides which worker makes the next pass of something that one of them has to do."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CursorResult
from sqlalchemy.dialects import postgresql, sqlite

from common.db.clock import db_now, statement_time
from common.db.models import Pass
from common.db.statements import Statements


class Passes(Statements):
    """Nobody holds anything: a worker that dies in the middle of a pass is followed by another at the next one."""

    async def take(self, name: str, taken_by: str, seconds: float) -> bool:
        """Whether the pass is due and this caller makes it; the next one is due `seconds` from now."""
        connection = await self._session.connection()
        insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        new = insert(Pass).values(name=name, taken_by=taken_by, due_at=db_now(seconds))
        statement = new.on_conflict_do_update(
            index_elements=[Pass.name],
            set_={"taken_by": new.excluded.taken_by, "due_at": db_now(seconds)},
            where=Pass.due_at <= statement_time(),
        )
        result = await self._session.execute(statement)
        assert isinstance(result, CursorResult)
        return result.rowcount == 1
