"""The statements on streams: sizes that are told later, and final uploads with their parts."""

import asyncio
from datetime import UTC, datetime, timedelta

from common.db.database import Database
from common.db.models import Upload
from common.ids import new_id
from common.states import UploadState
from tests.contract.database.rows import LATE, put, upload_of
from tests.integration.worker.rig import TENANT, new_upload


async def final_of(database: Database, *parts: Upload, **columns: object) -> Upload:
    """A final upload of these parts."""
    final = new_upload(None, stream=True, parts=len(parts), **columns)
    async with database.transaction() as repository:
        await repository.uploads.insert(final)
        await repository.parts.insert(final.id, [part.id for part in parts])
    return final


async def ids_of(database: Database, final: Upload) -> list[str | None]:
    async with database.reading() as repository:
        return [part.id if part else None for part in await repository.parts.of(TENANT, final.id)]


async def waiting(database: Database, part: Upload) -> set[str]:
    async with database.reading() as repository:
        return {final.id for final in await repository.parts.waiting_for(TENANT, part.id)}


async def test_parts_come_in_their_order_also_twice(database: Database) -> None:
    parts = [new_upload(1, partial=True) for _ in range(3)]
    await put(database, *parts)
    final = await final_of(database, parts[2], parts[0], parts[2], parts[1])
    assert await ids_of(database, final) == [parts[2].id, parts[0].id, parts[2].id, parts[1].id]


async def test_a_part_whose_row_is_gone_leaves_its_place(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True))
    final = await final_of(database, part, new_upload(1), part)
    assert await ids_of(database, final) == [part.id, None, part.id]


async def test_parts_of_another_tenant_are_not_seen(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True, tenant="other"))
    assert await ids_of(database, await final_of(database, part)) == [None]


async def test_only_open_finals_wait_for_a_part(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True), other := new_upload(1, partial=True))
    first, second = await final_of(database, part, part), await final_of(database, other, part)
    await final_of(database, part, state=UploadState.FINALIZING)
    await final_of(database, part, tenant="other")
    assert await waiting(database, part) == {first.id, second.id}
    assert await waiting(database, other) == {second.id}


async def test_the_list_of_parts_goes_with_its_final_upload_and_leaves_the_parts(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True))
    final = await final_of(database, part, state=UploadState.ABORTED, finished_at=LATE, cleaned=True)
    async with database.transaction() as repository:
        assert await repository.uploads.purge(1.0, 10) == 1
    assert await ids_of(database, final) == []
    assert (await upload_of(database, part.id)).id == part.id


async def test_a_size_is_told_once(database: Database) -> None:
    await put(database, upload := new_upload(None, stream=True))

    async def tell(size: int) -> bool:
        async with database.transaction() as repository:
            return await repository.uploads.declare_size(TENANT, upload.id, size)

    assert sorted(await asyncio.gather(*map(tell, (5, 6, 7)))) == [False, False, True]
    assert (await upload_of(database, upload.id)).size in (5, 6, 7)


async def test_the_size_of_what_has_ended_or_is_not_there_is_not_told(database: Database) -> None:
    await put(database, upload := new_upload(None, stream=True, state=UploadState.ABORTED))
    async with database.transaction() as repository:
        assert not await repository.uploads.declare_size(TENANT, upload.id, 5)
        assert not await repository.uploads.declare_size(TENANT, new_id(), 5)


async def test_a_part_does_not_end_while_a_job_needs_it(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True, expires_at=LATE))
    final = await final_of(database, part, state=UploadState.FINALIZING)
    async with database.transaction() as repository:
        assert await repository.parts.needed(TENANT, part.id)
        assert not await repository.uploads.expire(part)
        assert not await repository.uploads.abort(TENANT, part.id)
        await repository.uploads.move(TENANT, final.id, UploadState.FINALIZING, UploadState.COMPLETE)
        assert not await repository.parts.needed(TENANT, part.id)
        assert await repository.uploads.expire(part)


async def test_a_part_expires_after_the_final_uploads_that_wait_for_it(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True, expires_at=LATE))
    final = await final_of(database, part, expires_at=LATE)
    async with database.transaction() as repository:
        assert not await repository.uploads.expire(part)
        assert await repository.uploads.expire(final)
        assert await repository.uploads.expire(part)


async def test_the_open_finals_of_some_parts_are_found_for_all_tenants(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True), foreign := new_upload(1, partial=True, tenant="other"))
    finals = [await final_of(database, part, part), await final_of(database, foreign, tenant="other")]
    await final_of(database, part, state=UploadState.ABORTED)
    async with database.reading() as repository:
        found = await repository.parts.waiting_for_any([part.id, foreign.id])
        assert {final.id for final in found} == {final.id for final in finals}
        assert await repository.parts.waiting_for_any([]) == []


async def test_finals_that_might_be_complete_are_found_one_batch_after_the_other(database: Database) -> None:
    part, unsized = new_upload(1, partial=True), new_upload(None, partial=True)
    ended = new_upload(1, partial=True, state=UploadState.ABORTED)
    await put(database, part, unsized, ended)
    found = [await final_of(database, part, part, expires_at=LATE) for _ in range(2)]
    found.append(await final_of(database, part))
    for lacking in (unsized, ended, new_upload(1)):
        await final_of(database, part, lacking)
    await final_of(database, part, state=UploadState.FINALIZING)
    after, ids = None, []
    async with database.reading() as repository:
        while batch := await repository.parts.waiting_finals(after, 2, 0):
            ids += [final.id for final in batch]
            after = (batch[-1].expires_at, batch[-1].id)
    assert ids == [*sorted(final.id for final in found[:2]), found[2].id]


async def test_finals_that_are_young_are_not_among_them(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True))
    now = datetime.now(UTC)
    old = await final_of(database, part, created_at=now - timedelta(seconds=61))
    await final_of(database, part, created_at=now - timedelta(seconds=30))
    async with database.reading() as repository:
        assert [final.id for final in await repository.parts.waiting_finals(None, 10, 60)] == [old.id]


async def test_a_part_may_end_while_nobody_has_made_a_job_of_it(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True))
    await final_of(database, part)
    async with database.transaction() as repository:
        assert not await repository.parts.needed(TENANT, part.id)
        assert await repository.uploads.abort(TENANT, part.id)
    assert (await upload_of(database, part.id)).state == UploadState.ABORTED


async def test_the_open_finals_of_a_part_are_counted(database: Database) -> None:
    await put(database, part := new_upload(1, partial=True), other := new_upload(1, partial=True))
    await final_of(database, part, part, other)
    await final_of(database, part)
    await final_of(database, other, state=UploadState.FINALIZING)
    async with database.reading() as repository:
        assert await repository.parts.most_waiting(TENANT, [other.id, part.id]) == 2
        assert await repository.parts.most_waiting(TENANT, [other.id]) == 1
        assert await repository.parts.most_waiting(TENANT, [new_upload(1).id]) == 0
