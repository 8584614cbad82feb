"""Statements on the parts that final uploads are put together of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, distinct, exists, func, literal, or_, select, tuple_
from sqlalchemy.orm import aliased

from common.db.clock import UtcDateTime, statement_time
from common.db.models import Upload, UploadPart
from common.db.statements import Statements
from common.states import UploadState


def in_use(*states: UploadState) -> ColumnElement[bool]:
    """Of a row of uploads: its bytes are needed by a final upload in one of these states. While that is finalizing its
    job needs them, and the client counts on it."""
    final = aliased(Upload)
    return exists().where(
        UploadPart.partial_id == Upload.id,
        final.id == UploadPart.final_id,
        final.tenant == Upload.tenant,
        final.state.in_(states),
    )


class Parts(Statements):
    """Rows are written once, with the final upload, and go with it."""

    async def insert(self, final_id: str, partial_ids: Sequence[str]) -> None:
        """The parts in their order; one may stand in it twice. The final upload has been inserted."""
        self._session.add_all(
            UploadPart(final_id=final_id, position=position, partial_id=partial_id)
            for position, partial_id in enumerate(partial_ids)
        )
        await self._session.flush()

    async def of(self, tenant: str, final_id: str) -> list[Upload | None]:
        """The parts of a final upload in their order; None for one whose row is gone."""
        query = (
            select(UploadPart.position, Upload)
            .outerjoin(Upload, (Upload.id == UploadPart.partial_id) & (Upload.tenant == tenant))
            .where(UploadPart.final_id == final_id)
            .order_by(UploadPart.position)
        )
        return [upload for _, upload in (await self._session.execute(query)).all()]

    async def waiting_for(self, tenant: str, partial_id: str) -> Sequence[Upload]:
        """Final uploads that are still open and have this part."""
        finals = select(UploadPart.final_id).where(UploadPart.partial_id == partial_id)
        query = select(Upload).where(Upload.tenant == tenant, Upload.id.in_(finals), Upload.state == UploadState.OPEN)
        return (await self._session.scalars(query)).all()

    async def waiting_for_any(self, partial_ids: Sequence[str]) -> Sequence[Upload]:
        """For the sweep, of all tenants: final uploads that are still open and have one of these parts."""
        finals = select(UploadPart.final_id).where(UploadPart.partial_id.in_(partial_ids)).distinct()
        ids = (await self._session.scalars(finals)).all() if partial_ids else []
        # in a statement of its own: as one with the first, PostgreSQL walks through the ids of all uploads
        query = select(Upload).where(Upload.id.in_(ids), Upload.state == UploadState.OPEN)
        return (await self._session.scalars(query)).all() if ids else []

    async def waiting_finals(self, after: tuple[datetime, str] | None, limit: int, age: float) -> Sequence[Upload]:
        """For the sweep, of all tenants: open final uploads by when they expire, then by id, behind `after`; those only
        that might be complete, since all their parts are open and have a size, and were created `age` seconds ago."""
        part = aliased(Upload)
        lacking = (
            select(UploadPart.final_id)
            .outerjoin(part, (part.id == UploadPart.partial_id) & (part.tenant == Upload.tenant))
            .where(UploadPart.final_id == Upload.id)
            .where(or_(part.id.is_(None), part.state != UploadState.OPEN, part.size.is_(None)))
        )
        place = tuple_(Upload.expires_at, Upload.id)
        query = (
            select(Upload)
            .where(Upload.state == UploadState.OPEN, Upload.parts.is_not(None), ~lacking.exists())
            .where(Upload.created_at <= statement_time(-age))
        )
        if after is not None:
            query = query.where(place > tuple_(literal(after[0], UtcDateTime()), literal(after[1])))
        return (await self._session.scalars(query.order_by(Upload.expires_at, Upload.id).limit(limit))).all()

    async def most_waiting(self, tenant: str, partial_ids: Sequence[str]) -> int:
        """How many open final uploads have that one of these parts that most have."""
        counted = (
            select(func.count(distinct(UploadPart.final_id)))
            .join(Upload, Upload.id == UploadPart.final_id)
            .where(UploadPart.partial_id.in_(set(partial_ids)))
            .where(Upload.tenant == tenant, Upload.state == UploadState.OPEN)
            .group_by(UploadPart.partial_id)
        )
        return max((await self._session.scalars(counted)).all(), default=0)

    async def needed(self, tenant: str, partial_id: str) -> bool:
        """Whether an open part is one that a job needs."""
        query = select(Upload.id).where(
            Upload.tenant == tenant,
            Upload.id == partial_id,
            Upload.state == UploadState.OPEN,
            in_use(UploadState.FINALIZING),
        )
        return await self._session.scalar(query) is not None
