"""Final uploads through the use cases: several partial ones behind each other become one file."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from common.db.models import Job, Upload
from common.errors import (
    FileTooLarge,
    InvalidRequest,
    NotAppendable,
    NotPartial,
    UploadFinalized,
    UploadNotFound,
    UploadNotOpen,
)
from common.states import JobKind, UploadState
from common.storage.base import UploadKey
from gateway.service.concatenations import MOST_FINALS, MOST_PARTS
from gateway.service.streams import NewStream, StreamStatus
from gateway.service.uploads import UploadService
from tests.integration.streams.site import ME, Gateway, Site, unknown_id

CONTENT = bytes(range(256)) * 100
PARTS = (CONTENT[:10_001], CONTENT[10_001:10_002], CONTENT[10_002:])


async def partial(gateway: Gateway, content: bytes, *, whole: bool = True, size: int | None = None) -> str:
    """A partial upload; half of it is there unless it is `whole`."""
    upload_id = await gateway.create(len(content) if size is None else None, partial=True)
    await gateway.append(upload_id, 0, content if whole else content[: len(content) // 2])
    return upload_id


async def concatenated(gateway: Gateway, *partial_ids: str, **more: object) -> StreamStatus:
    return await gateway.services.concatenations.create(ME, NewStream(None, **more), partial_ids)  # type: ignore[arg-type]


async def test_parts_become_one_file(site: Site, gateway: Gateway, other: Gateway) -> None:
    parts = [await partial(each, content) for each, content in zip((gateway, other, gateway), PARTS, strict=True)]
    final = await concatenated(other, *parts, filename="whole.bin")
    assert (final.upload.size, final.offset) == (len(CONTENT), len(CONTENT))
    assert final.job_id is not None
    file, stored = await site.published(final.upload.id)
    assert stored == CONTENT
    assert (file.filename, file.digests["sha-256"]) == ("whole.bin", hashlib.sha256(CONTENT).hexdigest())


async def test_a_part_may_be_used_twice(site: Site, gateway: Gateway) -> None:
    part = await partial(gateway, b"abc")
    first = await concatenated(gateway, part, part)
    assert (await site.published(first.upload.id))[1] == b"abcabc"
    second = await concatenated(gateway, part)
    assert (await site.published(second.upload.id))[1] == b"abc"


async def test_a_final_upload_waits_for_its_parts(site: Site, gateway: Gateway, other: Gateway) -> None:
    ready, half = await partial(gateway, PARTS[0]), await partial(gateway, CONTENT[10_001:], whole=False)
    final = await concatenated(gateway, ready, half)
    assert (final.offset, final.job_id, final.complete) == (None, None, False)
    arrived = len(CONTENT[10_001:]) // 2
    await other.append(half, arrived, CONTENT[10_001 + arrived :])
    assert (await gateway.look(final.upload.id)).job_id is not None
    assert len(await site.rig.jobs(JobKind.FINALIZE)) == 1
    assert (await site.published(final.upload.id))[1] == CONTENT


async def test_a_part_that_arrives_before_the_final_upload_has_begun_leaves_it_to_who_makes_it(
    site: Site, gateway: Gateway, other: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker would look for it in the storage in vain."""
    half, arrived = await partial(gateway, CONTENT, whole=False), len(CONTENT) // 2
    make_room = UploadService.make_room
    jobs: list[list[Job]] = []

    async def late(uploads: UploadService, upload: Upload) -> None:
        monkeypatch.setattr(UploadService, "make_room", make_room)
        await other.append(half, arrived, CONTENT[arrived:])
        jobs.append(list(await site.rig.jobs(JobKind.FINALIZE)))
        await make_room(uploads, upload)

    monkeypatch.setattr(UploadService, "make_room", late)
    final = await concatenated(gateway, half)
    assert jobs == [[]]
    assert final.job_id is not None
    assert (await site.published(final.upload.id))[1] == CONTENT


async def test_the_last_part_starts_the_job_without_anybody_asking(site: Site, gateway: Gateway) -> None:
    half = await partial(gateway, CONTENT, whole=False)
    final = await concatenated(gateway, half)
    await gateway.append(half, len(CONTENT) // 2, CONTENT[len(CONTENT) // 2 :])
    assert (await site.published(final.upload.id))[1] == CONTENT


async def test_a_part_may_get_its_size_later(site: Site, gateway: Gateway) -> None:
    part = await partial(gateway, CONTENT, size=-1)
    final = await concatenated(gateway, part)
    assert final.upload.size is None
    await gateway.services.streams.declare_size(ME, part, len(CONTENT))
    assert (await site.published(final.upload.id))[1] == CONTENT


async def test_many_who_ask_at_once_make_one_job(site: Site, gateway: Gateway, other: Gateway) -> None:
    final = await concatenated(gateway, await partial(gateway, CONTENT))
    looks = await asyncio.gather(*(each.look(final.upload.id) for each in (gateway, other) * 4))
    assert {look.job_id for look in looks} == {final.job_id}
    assert len(await site.rig.jobs(JobKind.FINALIZE)) == 1


async def test_empty_parts_make_an_empty_file(site: Site, gateway: Gateway) -> None:
    parts = [await gateway.create(0, partial=True) for _ in range(2)]
    final = await concatenated(gateway, *parts)
    assert (await site.published(final.upload.id))[1] == b""


async def test_nothing_is_appended_to_a_final_upload(gateway: Gateway) -> None:
    final = await concatenated(gateway, await partial(gateway, CONTENT, whole=False))
    with pytest.raises(NotAppendable):
        await gateway.append(final.upload.id, 0, b"x")
    with pytest.raises(NotAppendable):
        await gateway.services.streams.declare_size(ME, final.upload.id, 5)


async def test_what_is_no_part_is_not_put_together(gateway: Gateway) -> None:
    whole = await gateway.create(3)
    with pytest.raises(NotPartial):
        await concatenated(gateway, whole)
    with pytest.raises(UploadNotFound):
        await concatenated(gateway, await partial(gateway, b"abc"), unknown_id())


async def test_an_aborted_part_is_not_put_together(gateway: Gateway) -> None:
    part = await partial(gateway, b"abc")
    await gateway.services.streams.abort(ME, part)
    with pytest.raises(UploadNotOpen):
        await concatenated(gateway, part)


@pytest.mark.parametrize("count", [0, MOST_PARTS + 1])
async def test_the_number_of_parts_is_bounded(gateway: Gateway, count: int) -> None:
    with pytest.raises(InvalidRequest):
        await concatenated(gateway, *["x"] * count)


async def test_parts_live_as_long_as_what_is_made_of_them(site: Site, gateway: Gateway) -> None:
    part = await partial(gateway, b"abc")
    before = (await site.rig.get_upload(part)).expires_at
    final = await concatenated(gateway, part)
    assert before < (await site.rig.get_upload(part)).expires_at
    assert abs((final.upload.expires_at - (await site.rig.get_upload(part)).expires_at).total_seconds()) < 1


async def test_a_part_that_is_gone_ends_the_job(site: Site, gateway: Gateway) -> None:
    part = await partial(gateway, b"abc")
    final = await concatenated(gateway, part)
    await site.rig.storage.abort(UploadKey(ME.tenant, part))
    await site.rig.run()
    assert (await site.rig.job(final.job_id or "")).error_code == "upload_gone"
    assert (await site.rig.get_upload(final.upload.id)).state == UploadState.FAILED


async def test_a_part_cannot_be_ended_while_the_file_is_made_of_it(site: Site, gateway: Gateway) -> None:
    part = await partial(gateway, CONTENT)
    final = await concatenated(gateway, part)
    assert final.job_id is not None  # from here on the client counts on it
    with pytest.raises(UploadFinalized):
        await gateway.services.streams.abort(ME, part)
    assert (await site.published(final.upload.id))[1] == CONTENT
    await gateway.services.streams.abort(ME, part)
    assert (await site.rig.get_upload(part)).state == UploadState.ABORTED


async def test_a_part_is_received_also_where_what_waits_for_it_becomes_too_large(site: Site) -> None:
    limits = site.settings.limits.model_copy(update={"max_file_size": 1000})
    gateway = await site.gateway(replace(site.settings, limits=limits))
    first, second = [await gateway.create(None, partial=True) for _ in range(2)]
    final = await concatenated(gateway, first, second)
    for part in (first, second):
        await gateway.services.streams.declare_size(ME, part, 600)
        assert (await gateway.append(part, 0, b"x" * 600)).offset == 600
        assert (await gateway.look(part)).offset == 600
    with pytest.raises(FileTooLarge):
        await gateway.look(final.upload.id)


async def test_the_number_of_final_uploads_that_wait_for_a_part_is_bounded(site: Site, gateway: Gateway) -> None:
    ready, half = await partial(gateway, b"abc"), await partial(gateway, CONTENT, whole=False)
    finals = [await concatenated(gateway, ready, half) for _ in range(MOST_FINALS)]
    with pytest.raises(InvalidRequest):
        await concatenated(gateway, half)
    await gateway.services.streams.abort(ME, finals[0].upload.id)
    assert (await concatenated(gateway, half, ready)).job_id is None
