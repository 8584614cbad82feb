"""The statements on files: publish, list by keyset, filter, change, delete."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from common.db.database import Database
from common.db.files import FileFilter
from common.db.models import File
from common.errors import InvalidRequest
from common.ids import new_id
from common.states import FileState, UploadState
from tests.contract.database.rows import NOON, put, queued
from tests.integration.worker.rig import TENANT, new_file, new_upload


async def files_at(database: Database, count: int, **columns: Any) -> list[File]:
    """Published files, a minute apart, oldest first."""
    files = [
        new_file(new_upload(1), new_id(), created_at=NOON + timedelta(minutes=number), **columns)
        for number in range(count)
    ]
    async with database.transaction() as repository:
        for file in files:
            await repository.files.insert(file)
    return files


async def names(database: Database, wanted: FileFilter, limit: int = 100, cursor: str | None = None) -> list[str]:
    async with database.reading() as repository:
        return [file.id for file in (await repository.files.page(TENANT, wanted, cursor, limit)).items]


async def test_pages_go_from_newest_to_oldest_without_gap_or_repeat(database: Database) -> None:
    expected = [file.id for file in reversed(await files_at(database, 7))]
    same_moment = [new_file(new_upload(1), new_id(), created_at=NOON) for _ in range(3)]
    async with database.transaction() as repository:
        for file in same_moment:
            await repository.files.insert(file)
    expected = expected[:-1] + sorted([expected[-1], *(file.id for file in same_moment)], reverse=True)

    seen: list[str] = []
    cursor = None
    while True:
        async with database.reading() as repository:
            page = await repository.files.page(TENANT, FileFilter(), cursor, 3)
        seen += [file.id for file in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == expected


async def test_a_page_that_ends_exactly_has_no_next(database: Database) -> None:
    await files_at(database, 3)
    async with database.reading() as repository:
        assert (await repository.files.page(TENANT, FileFilter(), None, 3)).next_cursor is None
        assert (await repository.files.page(TENANT, FileFilter(), None, 2)).next_cursor is not None


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "MjAyNQ", "bm93fHg"])
async def test_a_cursor_that_nobody_gave_is_refused(database: Database, cursor: str) -> None:
    async with database.reading() as repository:
        if not cursor:
            assert (await repository.files.page(TENANT, FileFilter(), cursor, 3)).items == []
            return
        with pytest.raises(InvalidRequest):
            await repository.files.page(TENANT, FileFilter(), cursor, 3)


async def test_files_are_filtered(database: Database) -> None:
    plain = await files_at(database, 2, filename="a.txt", tags={})
    [table] = await files_at(database, 1, filename="b.csv", content_type="text/csv", tags={"kind": "table", "x": ""})
    assert await names(database, FileFilter(filename="b.csv")) == [table.id]
    assert await names(database, FileFilter(content_type="text/csv")) == [table.id]
    assert await names(database, FileFilter(tag=("kind", None))) == [table.id]
    assert await names(database, FileFilter(tag=("kind", "table"))) == [table.id]
    assert await names(database, FileFilter(tag=("kind", "other"))) == []
    assert await names(database, FileFilter(created_after=NOON)) == [plain[1].id]
    assert set(await names(database, FileFilter(created_before=NOON + timedelta(minutes=1)))) == {plain[0].id, table.id}


async def test_pages_by_tag_are_complete(database: Database) -> None:
    files = await files_at(database, 5, tags={"batch": "7"})
    await files_at(database, 3, tags={"batch": "8"})
    wanted = FileFilter(tag=("batch", "7"), created_after=NOON - timedelta(days=1))
    async with database.reading() as repository:
        first = await repository.files.page(TENANT, wanted, None, 3)
        second = await repository.files.page(TENANT, wanted, first.next_cursor, 3)
    assert [file.id for file in [*first.items, *second.items]] == [file.id for file in reversed(files)]


async def test_another_tenant_sees_nothing(database: Database) -> None:
    [file] = await files_at(database, 1)
    job, upload = await queued(database), new_upload(1)
    await put(database, upload)
    async with database.transaction() as repository:
        assert await repository.files.get("other", file.id) is None
        assert (await repository.files.page("other", FileFilter(tag=("colour", None)), None, 10)).items == []
        assert await repository.files.change("other", file.id, {"description": "x"}) is None
        assert not await repository.files.start_delete("other", file.id)
        assert await repository.jobs.get("other", job.id) is None
        assert (await repository.jobs.page("other", state=None, kind=None, cursor=None, limit=9)).items == []
        assert await repository.uploads.get("other", upload.id) is None
        assert not await repository.uploads.move("other", upload.id, UploadState.OPEN, UploadState.ABORTED)


async def test_changed_tags_are_found_and_the_old_ones_are_not(database: Database) -> None:
    [file] = await files_at(database, 1, tags={"old": "1"})
    async with database.transaction() as repository:
        changed = await repository.files.change(TENANT, file.id, {"tags": {"new": "2"}, "description": "d"})
    assert changed is not None
    assert (changed.tags, changed.description) == ({"new": "2"}, "d")
    assert await names(database, FileFilter(tag=("old", None))) == []
    assert await names(database, FileFilter(tag=("new", "2"))) == [file.id]


async def test_a_file_is_deleted_in_two_steps(database: Database) -> None:
    [file] = await files_at(database, 1, tags={"a": "b"})
    async with database.transaction() as repository:
        await repository.files.remove(file.id)  # not started: nothing happens
        assert await repository.files.get(TENANT, file.id) is not None
        assert await repository.files.start_delete(TENANT, file.id)
        assert not await repository.files.start_delete(TENANT, file.id)
        assert await repository.files.get(TENANT, file.id) is None
        assert [row.id for row in await repository.files.deleting(10)] == [file.id]
        await repository.files.remove(file.id)
    async with database.reading() as repository:
        for table in ("files", "file_tags"):
            count = await repository.session.scalar(text(f"SELECT count(*) FROM {table}"))
            assert count == 0


async def test_attributes_of_many_files_are_written_at_once(database: Database) -> None:
    first, second = await files_at(database, 2)
    async with database.transaction() as repository:
        await repository.files.set_attributes(
            [(first.id, {"detected_type": "text/csv", "columns": ["a", "é"]}), (second.id, {}), ("no-such", {"x": 1})]
        )
        await repository.files.set_attributes([])
    async with database.reading() as repository:
        one, two = await repository.files.get(TENANT, first.id), await repository.files.get(TENANT, second.id)
    assert one is not None
    assert two is not None
    assert (one.attributes, one.detected_type) == ({"detected_type": "text/csv", "columns": ["a", "é"]}, "text/csv")
    assert (two.attributes, two.detected_type) == ({}, None)


async def test_an_upload_becomes_one_file_only(database: Database) -> None:
    upload = new_upload(1)
    async with database.transaction() as repository:
        await repository.files.insert(new_file(upload, new_id(), state=FileState.READY))
    with pytest.raises(IntegrityError):
        async with database.transaction() as repository:
            await repository.files.insert(new_file(upload, new_id()))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_listings_and_the_sweep_use_their_indexes(database: Database) -> None:
    """Shown on SQLite, whose plans do not depend on how full the table is."""
    page = "WHERE tenant='t' AND (created_at,id)<('x','y') ORDER BY created_at DESC, id DESC"
    queries = {
        "ix_files_page": f"SELECT * FROM files {page}",
        "ix_jobs_page": f"SELECT * FROM jobs {page}",
        "ix_jobs_waiting": "SELECT * FROM jobs WHERE state='queued' AND kind='k' AND next_attempt_at<='x' "
        "ORDER BY next_attempt_at",
        "ix_jobs_ended": "SELECT id FROM jobs WHERE state||'' IN ('failed') AND finished_at<='x'",
        "ix_uploads_left": "SELECT * FROM uploads WHERE cleaned IS 0 "
        "AND state NOT IN ('open', 'finalizing') AND id>'x' ORDER BY id",
        "ix_uploads_ended": "SELECT id FROM uploads WHERE cleaned IS 1 AND finished_at<='x'",
    }
    async with database.reading() as repository:
        for index, query in queries.items():
            plan = " ".join(row.detail for row in await repository.session.execute(text(f"EXPLAIN QUERY PLAN {query}")))
            assert f"USING INDEX {index}" in plan
            assert "TEMP B-TREE" not in plan
