"""Statements on uploads. Moves are compare-and-set: they say whether they happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, or_, select, text, update
from sqlalchemy.sql.dml import ReturningUpdate

from common.db.clock import db_now, statement_time
from common.db.models import NOT_LIVE, Job, Upload
from common.db.parts import in_use
from common.db.statements import Key, Statements, by_keys, keyed, named, named_later, table_of, unindexed
from common.states import UPLOAD_FINAL, JobState, UploadState

TIDY_SECONDS = 10.0  # what the worker that published a file may take to remove what is left of its upload
_ENDED = [str(state) for state in UPLOAD_FINAL]
_NEW = ("job_id", "file_id", "size", "description", "metadata", "tags", "digests")
_TABLE = table_of(Upload)
_START = (
    _TABLE.update()
    .where(
        _TABLE.c.tenant == bindparam("row_tenant"),
        _TABLE.c.id == bindparam("row_id"),
        _TABLE.c.state == UploadState.OPEN,
    )
    .values(state=UploadState.FINALIZING, **{name: bindparam(f"new_{name}") for name in _NEW})
)


def _complete(*, wait: bool) -> ReturningUpdate[str, str]:
    sealed = (*named_later(Upload), Upload.state == UploadState.FINALIZING)
    free = select(Upload.id).where(*sealed).order_by(Upload.id).with_for_update(skip_locked=not wait)
    # not `sealed` once more: from so few rows PostgreSQL would begin, and look for the free ones again for each
    statement = update(Upload).where(Upload.id.in_(free), Upload.state == UploadState.FINALIZING)
    ended = {"state": UploadState.COMPLETE, "finished_at": db_now(), "cleaned": bindparam("is_clean")}
    return statement.values(**ended).returning(Upload.tenant, Upload.id)


_COMPLETE = {wait: _complete(wait=wait) for wait in (True, False)}


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of an upload at the latest at finalize."""

    size: int
    description: str | None
    meta: dict[str, Any]
    tags: dict[str, str]
    digests: dict[str, str]


@dataclass(frozen=True, slots=True)
class Start:
    """The move of an upload to `finalizing`, for a job."""

    tenant: str
    upload_id: str
    job_id: str
    file_id: str
    said: Said


class Uploads(Statements):
    """Every method that serves a caller takes the tenant; those for the worker and the sweep say so."""

    async def insert(self, upload: Upload) -> None:
        """Raises IntegrityError when the tenant has used the idempotency key before."""
        self._session.add(upload)
        await self._session.flush()

    async def insert_all(self, uploads: Sequence[Upload]) -> None:
        """Uploads that were made alike, in one statement. Raises IntegrityError as `insert` does."""
        await self._insert_all(uploads)

    async def get(self, tenant: str, upload_id: str) -> Upload | None:
        query = select(Upload).where(Upload.tenant == tenant, Upload.id == upload_id)
        found: Upload | None = await self._session.scalar(query)
        return found

    async def get_all(self, keys: Sequence[Key]) -> dict[Key, Upload]:
        """Uploads by (tenant, id); those that are not there are left out."""
        rows = await self._session.scalars(by_keys(Upload), keyed(keys))
        return {(row.tenant, row.id): row for row in rows}

    async def by_idempotency_key(self, tenant: str, key: str) -> Upload | None:
        query = select(Upload).where(Upload.tenant == tenant, Upload.idempotency_key == key)
        found: Upload | None = await self._session.scalar(query)
        return found

    async def move(self, tenant: str, upload_id: str, before: UploadState, after: UploadState, **values: Any) -> bool:
        """One compare-and-set move with further column values; the end of an upload is timed."""
        if after in UPLOAD_FINAL:
            values["finished_at"] = db_now()
        statement = (
            update(Upload)
            .where(Upload.tenant == tenant, Upload.id == upload_id, Upload.state == before)
            .values(state=after, **values)
        )
        return await self._changed(statement) == 1

    async def abort(self, tenant: str, upload_id: str) -> bool:
        """open -> aborted, unless a final upload is being put together of it."""
        statement = update(Upload).where(
            Upload.tenant == tenant,
            Upload.id == upload_id,
            Upload.state == UploadState.OPEN,
            ~in_use(UploadState.FINALIZING),
        )
        return await self._changed(statement.values(state=UploadState.ABORTED, finished_at=db_now())) == 1

    async def agree_chunk_size(self, tenant: str, upload_id: str, before: int, after: int) -> bool:
        """Another chunk size for an open upload whose end is not known; False where somebody has agreed on one."""
        statement = update(Upload).where(
            Upload.tenant == tenant,
            Upload.id == upload_id,
            Upload.state == UploadState.OPEN,
            Upload.size.is_(None),
            Upload.chunk_size == before,
        )
        return await self._changed(statement.values(chunk_size=after)) == 1

    async def start_all(self, starts: Sequence[Start], *, wait: bool) -> set[Key]:
        """open -> finalizing for many; those that moved. Rows that somebody else holds are waited for or left out."""
        # in the order of the ids, so that two gateways never wait for each other
        still_open = select(Upload.tenant, Upload.id).where(
            *named(Upload, [(start.tenant, start.upload_id) for start in starts]), Upload.state == UploadState.OPEN
        )
        found = await self._session.execute(still_open.order_by(Upload.id).with_for_update(skip_locked=not wait))
        moving = {(tenant, upload_id) for tenant, upload_id in found}
        rows = [_new_values(start) for start in starts if (start.tenant, start.upload_id) in moving]
        if rows:
            connection = await self._session.connection()
            await connection.execute(_START, rows)
        return moving

    async def complete_all(self, keys: Sequence[Key], *, wait: bool, cleaned: bool = False) -> set[Key]:
        """finalizing -> complete for many; those that moved. Their file ids were chosen at finalize.

        Rows that somebody else holds are waited for or left out. `cleaned`: nothing of them is left in the storage.
        """
        found = await self._session.execute(
            _COMPLETE[wait], {**keyed(keys), "is_clean": cleaned}, execution_options={"synchronize_session": False}
        )
        return {(tenant, upload_id) for tenant, upload_id in found}

    async def abort_open(self, keys: Sequence[Key]) -> list[str]:
        """open -> aborted for many; the ids of those that moved."""
        statement = update(Upload).where(*named(Upload, keys), Upload.state == UploadState.OPEN)
        moved = statement.values(state=UploadState.ABORTED, finished_at=db_now()).returning(Upload.id)
        return list(await self._returned(moved))

    async def declare_size(self, tenant: str, upload_id: str, size: int) -> bool:
        """Give an open upload its size, in bytes; False where it has one, or is not open."""
        statement = update(Upload).where(
            Upload.tenant == tenant, Upload.id == upload_id, Upload.state == UploadState.OPEN, Upload.size.is_(None)
        )
        return await self._changed(statement.values(size=size)) == 1

    async def remove_open(self, tenant: str, upload_id: str) -> None:
        """Remove the row of an upload that could not begin."""
        await self._changed(
            delete(Upload).where(Upload.tenant == tenant, Upload.id == upload_id, Upload.state == UploadState.OPEN)
        )

    async def withdraw(self, upload_ids: Sequence[str]) -> None:
        """Remove the rows of uploads whose jobs were withdrawn."""
        await self._changed(delete(Upload).where(Upload.id.in_(upload_ids), Upload.state == UploadState.FINALIZING))

    async def reopen(self, tenant: str, upload_id: str, ttl: float) -> bool:
        """finalizing -> open after damage: the next finalize makes a new job, and the client gets its time again."""
        return await self.move(
            tenant,
            upload_id,
            UploadState.FINALIZING,
            UploadState.OPEN,
            round=Upload.round + 1,
            job_id=None,
            whole_crc64=None,
            expires_at=db_now(ttl),
        )

    # --- for the sweep: all tenants -------------------------------------------------------------------------

    async def due_to_expire(self, limit: int) -> Sequence[Upload]:
        due = (Upload.state == UploadState.OPEN, Upload.expires_at <= statement_time())
        return (await self._session.scalars(select(Upload).where(*due).limit(limit))).all()

    async def expire(self, upload: Upload) -> bool:
        """open -> expired, unless somebody gave it more time meanwhile, or needs it: a part outlives every final upload
        that waits for it."""
        statement = update(Upload).where(
            Upload.id == upload.id,
            Upload.state == UploadState.OPEN,
            Upload.expires_at <= statement_time(),
            ~in_use(UploadState.FINALIZING, UploadState.OPEN),
        )
        return await self._changed(statement.values(state=UploadState.EXPIRED, finished_at=db_now())) == 1

    async def postpone(self, upload_ids: Sequence[str], expires_at: datetime) -> None:
        """Open uploads that are still needed live until then, at the least. Rows that somebody else holds are left out:
        who is due comes again."""
        short = (Upload.id.in_(upload_ids), Upload.state == UploadState.OPEN, Upload.expires_at < expires_at)
        chosen = select(Upload.id).where(*short).order_by(Upload.id).with_for_update(skip_locked=True)
        await self._changed(update(Upload).where(Upload.id.in_(chosen)).values(expires_at=expires_at))

    async def uncleaned(self, limit: int, after: str = "") -> Sequence[Upload]:
        """Ended uploads that may still have something in the storage, by id after `after`.

        Whoever published one a moment ago is about to clean up after it.
        """
        mine = or_(Upload.state != UploadState.COMPLETE, Upload.finished_at <= statement_time(-TIDY_SECONDS))
        query = select(Upload).where(Upload.cleaned.is_(False), text(NOT_LIVE), Upload.id > after, mine)
        return (await self._session.scalars(query.order_by(Upload.id).limit(limit))).all()

    async def mark_cleaned(self, *upload_ids: str) -> None:
        await self._changed(update(Upload).where(Upload.id.in_(upload_ids)).values(cleaned=True))

    async def give_up_dead_letters(self, retention: float, limit: int) -> int:
        """finalizing -> failed where the job is a dead letter that nobody re-drove within `retention` seconds."""
        dead = exists().where(
            Job.upload_id == Upload.id,
            Job.id == Upload.job_id,
            Job.state == JobState.FAILED,
            Job.finished_at <= statement_time(-retention),
        )
        chosen = select(Upload.id).where(Upload.state == UploadState.FINALIZING, dead).limit(limit)
        statement = update(Upload).where(Upload.id.in_(chosen), Upload.state == UploadState.FINALIZING)
        return await self._changed(statement.values(state=UploadState.FAILED, finished_at=db_now()))

    async def purge(self, retention: float, limit: int) -> int:
        """Remove rows of cleaned uploads that ended more than `retention` seconds ago. Their files stay."""
        chosen = (
            select(Upload.id)
            .where(Upload.cleaned.is_(True), unindexed(Upload.state).in_(_ENDED))
            .where(Upload.finished_at <= statement_time(-retention))
            .limit(limit)
        )
        return await self._changed(delete(Upload).where(Upload.id.in_(chosen)))

    # --- for fsck: all tenants ------------------------------------------------------------------------------

    async def with_bytes(self, upload_ids: Iterable[str]) -> set[str]:
        """Which of these uploads may have bytes: they live, or the sweep still cleans up after them."""
        query = select(Upload.id).where(Upload.id.in_(list(upload_ids)), Upload.cleaned.is_(False))
        return set(await self._session.scalars(query))

    async def sealing_to(self, file_ids: Iterable[str]) -> set[str]:
        """Which of these file ids belong to an upload that may have bytes: sealed, and published or cleaned up next."""
        query = select(Upload.file_id).where(Upload.file_id.in_(list(file_ids)), Upload.cleaned.is_(False))
        return {file_id for file_id in await self._session.scalars(query) if file_id is not None}

    async def without_job(self, last: str, limit: int) -> Sequence[Upload]:
        """Uploads that are being finalized by no job that waits, runs or is a dead letter; by id, after `last`."""
        query = select(Upload).where(_lacks_job(), Upload.id > last).order_by(Upload.id).limit(limit)
        return (await self._session.scalars(query)).all()

    async def lacks_job(self, upload_id: str) -> bool:
        """The same of one upload."""
        return await self._session.scalar(select(Upload.id).where(_lacks_job(), Upload.id == upload_id)) is not None

    async def hand_over(self, upload: Upload, job_id: str) -> bool:
        """Let another job end an upload that is being finalized; False when it moved on meanwhile."""
        statement = update(Upload).where(
            Upload.id == upload.id, Upload.state == UploadState.FINALIZING, Upload.job_id == upload.job_id
        )
        return await self._changed(statement.values(job_id=job_id)) == 1


def _lacks_job() -> ColumnElement[bool]:
    serving = [str(JobState.QUEUED), str(JobState.RUNNING), str(JobState.FAILED)]
    served = exists().where(Job.id == Upload.job_id, Job.state.in_(serving))
    return and_(Upload.state == UploadState.FINALIZING, ~served)


def _new_values(start: Start) -> dict[str, Any]:
    said = start.said
    values = (start.job_id, start.file_id, said.size, said.description, said.meta, said.tags, said.digests)
    named_values = {f"new_{name}": value for name, value in zip(_NEW, values, strict=True)}
    return {"row_tenant": start.tenant, "row_id": start.upload_id} | named_values
