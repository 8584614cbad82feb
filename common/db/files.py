"""Statements on files: publish, read, list by keyset, change what may change, delete in two steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, delete, insert, select, update

from common.db.clock import db_now, statement_time
from common.db.models import File, FileTag
from common.db.paging import Cursor, Page, newest_first
from common.db.statements import Key, Statements, by_keys, keyed
from common.states import FileState


@dataclass(frozen=True, slots=True)
class FileFilter:
    """What `GET /v1/files` may ask for. A tag with value None asks for the key alone."""

    filename: str | None = None
    content_type: str | None = None
    tag: tuple[str, str | None] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class Files(Statements):
    """Callers see files that are `ready` or `corrupt`. Methods without a tenant serve the worker and the sweep."""

    async def insert(self, file: File) -> None:
        self._session.add(file)
        await self._session.flush()
        await self._insert_tags(file, file.tags)

    async def insert_all(self, files: Sequence[File]) -> None:
        """Files that were made alike, with their tags, in two statements. Raises IntegrityError."""
        await self._insert_all(files)
        rows = [row for file in files for row in _tag_rows(file, file.tags)]
        if rows:
            await self._session.execute(insert(FileTag), rows)

    async def get_all(self, keys: Sequence[Key]) -> dict[Key, File]:
        """Visible files by (tenant, id); those that are not there are left out."""
        rows = await self._session.scalars(_VISIBLE_BY_KEYS, keyed(keys))
        return {(row.tenant, row.id): row for row in rows}

    async def get(self, tenant: str, file_id: str) -> File | None:
        query = select(File).where(File.tenant == tenant, File.id == file_id, _visible())
        found: File | None = await self._session.scalar(query)
        return found

    async def page(self, tenant: str, wanted: FileFilter, cursor: str | None, limit: int) -> Page[File]:
        query = select(File).where(File.tenant == tenant, _visible())
        if wanted.filename is not None:
            query = query.where(File.filename == wanted.filename)
        if wanted.content_type is not None:
            query = query.where(File.content_type == wanted.content_type)
        # The position is compared on the table whose index drives the query, so that a page stays one index range.
        position = FileTag if wanted.tag is not None else File
        if wanted.tag is not None:
            query = _by_tag(query, tenant, wanted.tag)
        if wanted.created_after is not None:
            query = query.where(position.created_at > wanted.created_after)
        if wanted.created_before is not None:
            query = query.where(position.created_at < wanted.created_before)
        row_id = FileTag.file_id if wanted.tag is not None else File.id
        at = Cursor.decode(cursor) if cursor else None
        rows = list(await self._session.scalars(newest_first(query, position.created_at, row_id, at, limit)))
        following = Cursor(rows[limit - 1].created_at, rows[limit - 1].id).encode() if len(rows) > limit else None
        return Page(rows[:limit], following)

    async def change(self, tenant: str, file_id: str, values: Mapping[str, Any]) -> File | None:
        """Set description, tags or meta; returns the file as it is now."""
        statement = update(File).where(File.tenant == tenant, File.id == file_id, _visible())
        if not values:
            return await self.get(tenant, file_id)
        rows = await self._returned(statement.values(**values).returning(File))
        if not rows:
            return None
        file: File = rows[0]
        if "tags" in values:
            await self._session.execute(delete(FileTag).where(FileTag.file_id == file_id))
            await self._insert_tags(file, values["tags"])
        return file

    async def start_delete(self, tenant: str, file_id: str) -> bool:
        """-> deleting: from now on nobody sees the file; the bytes go next, then `remove`."""
        statement = update(File).where(File.tenant == tenant, File.id == file_id, _visible())
        return await self._changed(statement.values(state=FileState.DELETING)) == 1

    async def remove(self, file_id: str) -> None:
        """The row, after its bytes are gone."""
        await self._session.execute(delete(FileTag).where(FileTag.file_id == file_id))
        await self._changed(delete(File).where(File.id == file_id, File.state == FileState.DELETING))

    # --- for the worker and the sweep: all tenants ----------------------------------------------------------

    async def deleting(self, limit: int, after: str = "") -> Sequence[File]:
        """Files whose bytes are to be removed, by id after `after`."""
        query = select(File).where(File.state == FileState.DELETING, File.id > after)
        return (await self._session.scalars(query.order_by(File.id).limit(limit))).all()

    async def start_scrub(self, period: float) -> File | None:
        """A file that was not looked at for more than `period` seconds, of those the one that waits longest.

        It counts as looked at from now on, so that no other worker takes it too; a scrub that is cut off comes again
        after another period.
        """
        # apart, so that each is the front of one index range; NULL: published by the version before
        for state in (FileState.READY, FileState.CORRUPT):
            for waits in (File.scrubbed_at <= statement_time(-period), File.scrubbed_at.is_(None)):
                due = select(File.id).where(File.state == state, waits).order_by(File.scrubbed_at).limit(1)
                # compared with =, not IN: PostgreSQL runs such a subquery once for each row and takes more than one
                one = due.with_for_update(skip_locked=True).scalar_subquery()
                statement = update(File).where(File.id == one, File.state == state)
                rows = await self._returned(statement.values(scrubbed_at=db_now()).returning(File))
                if rows:
                    file: File = rows[0]
                    return file
        return None

    async def mark_corrupt(self, file_id: str) -> bool:
        """ready -> corrupt: its bytes are not what was published."""
        return await self._mark(file_id, FileState.READY, FileState.CORRUPT)

    async def mark_sound(self, file_id: str) -> bool:
        """corrupt -> ready: its bytes were put back, from a backup or by mounting the right volume."""
        return await self._mark(file_id, FileState.CORRUPT, FileState.READY)

    async def _mark(self, file_id: str, before: FileState, after: FileState) -> bool:
        statement = update(File).where(File.id == file_id, File.state == before)
        return await self._changed(statement.values(state=after)) == 1

    async def known(self, file_ids: Iterable[str]) -> set[str]:
        """Which of these ids have a row, in whatever state."""
        return set(await self._session.scalars(select(File.id).where(File.id.in_(list(file_ids)))))

    async def ready_after(self, last: str, limit: int) -> Sequence[File]:
        """Ready files of all tenants in the order of their ids, after `last`: to walk through all."""
        query = select(File).where(File.state == FileState.READY, File.id > last).order_by(File.id).limit(limit)
        return (await self._session.scalars(query)).all()

    async def set_attributes(self, found: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """(file id, attributes) of many files in one statement; the detected type gets its own column."""
        rows = [
            {"row": file_id, "found": dict(attributes), "detected": attributes.get("detected_type")}
            for file_id, attributes in found
        ]
        if rows:
            table = File.__table__
            statement = (
                update(table)  # type: ignore[arg-type]
                .where(table.c.id == bindparam("row"))
                .values(attributes=bindparam("found"), detected_type=bindparam("detected"))
            )
            connection = await self._session.connection()
            await connection.execute(statement, rows)

    async def _insert_tags(self, file: File, tags: Mapping[str, str]) -> None:
        if tags:
            await self._session.execute(insert(FileTag), _tag_rows(file, tags))


def _tag_rows(file: File, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"file_id": file.id, "tenant": file.tenant, "key": key, "value": value, "created_at": file.created_at}
        for key, value in tags.items()
    ]


def _visible() -> ColumnElement[bool]:
    return File.state.in_([str(FileState.READY), str(FileState.CORRUPT)])


def _by_tag(query: Select[File], tenant: str, tag: tuple[str, str | None]) -> Select[File]:
    key, value = tag
    query = query.join(FileTag, FileTag.file_id == File.id).where(FileTag.tenant == tenant, FileTag.key == key)
    return query if value is None else query.where(FileTag.value == value)


_VISIBLE_BY_KEYS = by_keys(File).where(_visible())
