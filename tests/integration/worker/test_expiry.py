"""What becomes of a final upload and its parts when their time is over: they live and end together."""

from datetime import UTC, datetime, timedelta

import pytest

from common.db.models import Upload
from common.errors import StorageUnavailable
from common.states import UploadState
from common.storage.base import UploadKey
from tests.integration.worker.rig import Rig
from tests.integration.worker.test_sweep import age_bytes
from worker.expiry import LONGEST_LIFE

CONTENT = b"z" * 1500
TTL = timedelta(days=1)
PAST = datetime.now(UTC) - 2 * TTL
OVER = {"created_at": PAST, "expires_at": PAST}


async def silent(rig: Rig) -> Upload:
    """A part that arrived long ago, and whose time is over."""
    part = await rig.upload(CONTENT, partial=True, **OVER)
    age_bytes(rig, part)
    return part


async def busy(rig: Rig) -> Upload:
    """A part whose time would be over, if bytes did not arrive for it."""
    return await rig.upload(CONTENT, partial=True, **OVER)


async def final_of(rig: Rig, *parts: Upload, **columns: datetime) -> Upload:
    final = await rig.upload(b"", parts=len(parts), **{**OVER, **columns})
    age_bytes(rig, final)
    async with rig.database.transaction() as repository:
        await repository.parts.insert(final.id, [part.id for part in parts])
    return final


async def states(rig: Rig, *uploads: Upload) -> set[str]:
    return {(await rig.get_upload(upload.id)).state for upload in uploads}


async def test_a_final_upload_lives_with_its_parts_while_bytes_arrive_for_one_of_them(rig: Rig) -> None:
    parts = [await silent(rig), await busy(rig), await silent(rig)]
    final = await final_of(rig, *parts)

    await rig.parts.sweep.expire()

    assert await states(rig, final, *parts) == {UploadState.OPEN}
    for upload in (final, *parts):
        assert (await rig.get_upload(upload.id)).expires_at > datetime.now(UTC) + 0.9 * TTL


async def test_a_final_upload_ends_with_its_parts_when_nothing_arrives_any_more(rig: Rig) -> None:
    parts = [await silent(rig) for _ in range(3)]
    final = await final_of(rig, *parts)

    await rig.parts.sweep.expire()

    assert await states(rig, final, *parts) == {UploadState.EXPIRED}
    assert rig.counted("swept_total", reason="expired") == 4


async def test_a_part_is_kept_for_a_final_upload_that_has_time_left(rig: Rig) -> None:
    part = await silent(rig)
    final = await final_of(rig, part, expires_at=datetime.now(UTC) + TTL / 2)

    await rig.parts.sweep.expire()

    assert await states(rig, part, final) == {UploadState.OPEN}
    assert (await rig.get_upload(part.id)).expires_at == (await rig.get_upload(final.id)).expires_at


async def test_a_final_upload_that_has_lost_a_part_ends_whatever_arrives_for_the_others(rig: Rig) -> None:
    lost, other = await busy(rig), await busy(rig)
    final = await final_of(rig, lost, other)
    async with rig.database.transaction() as repository:
        assert await repository.uploads.abort(lost.tenant, lost.id)

    await rig.parts.sweep.expire()

    assert await states(rig, final) == {UploadState.EXPIRED}
    assert await states(rig, other) == {UploadState.OPEN}


@pytest.mark.parametrize(("age", "state"), [(-TTL / 2, UploadState.OPEN), (TTL / 2, UploadState.EXPIRED)])
async def test_parts_keep_a_final_upload_no_longer_than_thirty_times_as_long(
    rig: Rig, age: timedelta, state: UploadState
) -> None:
    part = await busy(rig)
    final = await final_of(rig, part, created_at=datetime.now(UTC) - LONGEST_LIFE * TTL - age)

    await rig.parts.sweep.expire()

    assert await states(rig, final) == {state}
    assert await states(rig, part) == {UploadState.OPEN}


async def test_what_many_parts_wait_for_is_decided_in_the_same_pass(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its own row is not among those that are looked at."""
    monkeypatch.setattr("worker.expiry.DUE_AT_ONCE", 2)
    parts = [await silent(rig) for _ in range(4)]
    final = await final_of(rig, *parts, await busy(rig), expires_at=PAST + timedelta(hours=1))

    assert await rig.parts.sweep.expire()

    assert await states(rig, final, *parts) == {UploadState.OPEN}
    assert (await rig.get_upload(final.id)).expires_at > datetime.now(UTC)


async def test_others_expire_where_no_final_upload_can_be_decided(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable, other = await silent(rig), await rig.upload(CONTENT, **OVER)
    age_bytes(rig, other)
    final = await final_of(rig, unreadable)
    last_activity = rig.storage.last_activity

    async def failing(upload: UploadKey) -> datetime | None:
        if upload.upload_id == unreadable.id:
            raise StorageUnavailable("stale handle")
        return await last_activity(upload)

    monkeypatch.setattr(rig.storage, "last_activity", failing)
    with pytest.raises(StorageUnavailable):
        await rig.parts.sweep.expire()

    assert await states(rig, other) == {UploadState.EXPIRED}
    assert await states(rig, final) == {UploadState.OPEN}
