"""Appending through the use cases, as every surface does it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from common.errors import (
    AppendInterrupted,
    BodyIncomplete,
    DigestMismatch,
    FileTooLarge,
    OffsetMismatch,
    SizeConflict,
    UploadFinalized,
    UploadNotFound,
    UploadNotOpen,
    UploadTooLong,
)
from common.states import JobKind, UploadState
from common.storage.base import UploadKey
from gateway.intake import Pieces
from gateway.service.appends import Append
from gateway.service.requests import NewUpload
from tests.integration.streams.site import ME, Gateway, Line, Site, unknown_id

CONTENT = bytes(range(256)) * 100


async def broken(content: bytes) -> AsyncIterator[bytes]:
    """A body whose connection ends in its middle."""
    yield content
    raise BodyIncomplete("The connection ended.")


async def test_a_stream_in_odd_pieces_becomes_a_file(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT), filename="a.bin")
    for start, end in [(0, 1), (1, 1000), (1000, 1000), (1000, 25_599)]:
        status = await gateway.append(upload_id, start, CONTENT[start:end])
        assert (status.offset, status.job_id, status.complete) == (end, None, False)
    status = await gateway.append(upload_id, 25_599, CONTENT[25_599:])
    assert status.complete
    assert status.job_id is not None
    file, stored = await site.published(upload_id)
    assert stored == CONTENT
    assert (file.filename, file.digests["sha-256"]) == ("a.bin", hashlib.sha256(CONTENT).hexdigest())


async def test_an_append_elsewhere_is_refused_with_the_offset_to_go_on_from(gateway: Gateway) -> None:
    upload_id = await gateway.create(100)
    await gateway.append(upload_id, 0, b"x" * 10)
    for offset in (0, 9, 11):
        with pytest.raises(OffsetMismatch) as refused:
            await gateway.append(upload_id, offset, b"y")
        assert refused.value.extras["expected_offset"] == 10


async def test_what_came_over_a_broken_connection_is_kept(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    with pytest.raises(BodyIncomplete):
        await gateway.services.appends.append(ME, upload_id, Append(0), Pieces(broken(CONTENT[:7777])))
    assert (await gateway.look(upload_id)).offset == 7777
    await gateway.append(upload_id, 7777, CONTENT[7777:])
    assert (await site.published(upload_id))[1] == CONTENT


async def test_with_a_digest_nothing_of_a_broken_body_counts(gateway: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    wanted = Append(0, declared={"sha1": hashlib.sha1(CONTENT, usedforsecurity=False).digest()})
    with pytest.raises(BodyIncomplete):
        await gateway.services.appends.append(ME, upload_id, wanted, Pieces(broken(CONTENT[:7777])))
    assert (await gateway.look(upload_id)).offset == 0


@pytest.mark.parametrize("body", [CONTENT, b""])
async def test_with_a_wrong_digest_nothing_counts(gateway: Gateway, body: bytes) -> None:
    upload_id = await gateway.create(len(CONTENT))
    with pytest.raises(DigestMismatch):
        await gateway.append(upload_id, 0, body, declared={"md5": b"0" * 16})
    status = await gateway.look(upload_id)
    assert (status.offset, status.upload.state) == (0, UploadState.OPEN)


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256"])
async def test_with_the_right_digest_all_counts(gateway: Gateway, algorithm: str) -> None:
    upload_id = await gateway.create(len(CONTENT))
    name = {"sha256": "sha-256"}.get(algorithm, algorithm)
    status = await gateway.append(upload_id, 0, CONTENT, declared={name: hashlib.new(algorithm, CONTENT).digest()})
    assert status.complete


async def test_a_body_that_says_itself_that_it_is_too_long_is_not_read(gateway: Gateway) -> None:
    upload_id = await gateway.create(100)
    pieces = Line(b"x" * 101).pieces
    with pytest.raises(UploadTooLong):
        await gateway.services.appends.append(ME, upload_id, Append(0, length=101), pieces)
    assert not pieces.started
    assert (await gateway.look(upload_id)).offset == 0


async def test_a_body_beyond_the_size_is_refused_as_soon_as_it_is(gateway: Gateway) -> None:
    upload_id = await gateway.create(100)
    line = Line(b"x" * 101, stalls=True, piece=1)
    with pytest.raises(UploadTooLong):
        await gateway.append(upload_id, 0, line)
    assert (await gateway.services.uploads.status(ME, upload_id)).received_bytes <= 100


async def test_without_a_size_the_largest_file_is_the_bound(site: Site) -> None:
    limits = site.settings.limits.model_copy(update={"max_file_size": 1000})
    gateway = await site.gateway(replace(site.settings, limits=limits))
    upload_id = await gateway.create(None)
    with pytest.raises(FileTooLarge):
        await gateway.append(upload_id, 0, b"x" * 1001)


async def test_an_empty_stream_is_complete_at_once(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(0)
    assert (await site.published(upload_id))[1] == b""


async def test_repeating_the_last_append_gives_the_same_job(site: Site, gateway: Gateway, other: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    first = await gateway.append(upload_id, 0, CONTENT)
    again = await other.append(upload_id, len(CONTENT), b"")
    assert again.job_id == first.job_id
    await site.published(upload_id)
    assert (await gateway.append(upload_id, len(CONTENT), b"", complete=True)).job_id == first.job_id
    assert len(await site.rig.jobs(JobKind.FINALIZE)) == 1


async def test_who_looks_makes_the_job_that_a_dead_process_did_not(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    await gateway.append(upload_id, 0, CONTENT, complete=False)
    assert (await site.rig.get_upload(upload_id)).state == UploadState.OPEN
    status = await gateway.look(upload_id)
    assert status.job_id is not None
    assert (await site.published(upload_id))[1] == CONTENT


async def test_the_size_may_be_told_later(site: Site, gateway: Gateway, other: Gateway) -> None:
    upload_id = await gateway.create(None)
    await gateway.append(upload_id, 0, CONTENT[:100])
    assert (await gateway.look(upload_id)).complete is False
    assert (await other.services.streams.declare_size(ME, upload_id, len(CONTENT))).offset == 100
    status = await gateway.append(upload_id, 100, CONTENT[100:])
    assert status.job_id is not None
    assert (await site.published(upload_id))[1] == CONTENT


async def test_telling_the_size_of_what_is_there_completes(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(None)
    await gateway.append(upload_id, 0, CONTENT)
    assert (await gateway.services.streams.declare_size(ME, upload_id, len(CONTENT))).job_id is not None
    assert (await site.published(upload_id))[1] == CONTENT


async def test_the_size_is_told_once(gateway: Gateway) -> None:
    upload_id = await gateway.create(None)
    await gateway.append(upload_id, 0, b"x" * 10)
    declare = gateway.services.streams.declare_size
    with pytest.raises(SizeConflict):
        await declare(ME, upload_id, 9)
    await declare(ME, upload_id, 20)
    assert (await declare(ME, upload_id, 20)).upload.size == 20
    with pytest.raises(SizeConflict):
        await declare(ME, upload_id, 21)


async def test_the_last_append_fixes_the_size(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(None)
    await gateway.append(upload_id, 0, CONTENT[:100], complete=False)
    status = await gateway.append(upload_id, 100, CONTENT[100:], complete=True)
    assert (status.upload.size, status.complete) == (len(CONTENT), True)
    assert (await site.published(upload_id))[1] == CONTENT


async def test_a_last_append_that_ends_early_is_a_conflict(gateway: Gateway) -> None:
    upload_id = await gateway.create(100)
    with pytest.raises(SizeConflict):
        await gateway.append(upload_id, 0, b"x" * 99, complete=True)


async def test_bytes_that_do_not_make_the_declared_file_are_not_published(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT), digests={"sha-256": "00" * 32})
    job_id = (await gateway.append(upload_id, 0, CONTENT)).job_id
    await site.rig.run()
    job = await site.rig.job(job_id or "")
    assert job.error_code == "file_digest_mismatch"


async def test_a_stream_takes_no_chunks(gateway: Gateway) -> None:
    upload_id = await gateway.create(100)
    with pytest.raises(UploadNotOpen):
        await gateway.services.chunks.put(ME, upload_id, 0, Line(b"x" * 100).pieces, 100, {})


async def test_what_has_arrived_shows_on_the_native_surface(gateway: Gateway) -> None:
    upload_id = await gateway.create(12 * 1024 * 1024)  # three chunks of 5 MiB, 5 MiB and 2 MiB
    await gateway.append(upload_id, 0, b"x" * 1000)
    status = await gateway.services.uploads.status(ME, upload_id)
    assert (status.received_bytes, status.missing) == (1000, [(0, 2)])
    await gateway.append(upload_id, 1000, bytes(5 * 1024 * 1024))
    status = await gateway.services.uploads.status(ME, upload_id)
    assert (status.received_bytes, status.missing) == (5 * 1024 * 1024 + 1000, [(1, 2)])


async def test_an_upload_in_chunks_takes_no_appends(gateway: Gateway) -> None:
    chunked = await gateway.services.uploads.create(ME, NewUpload("a", 10))
    with pytest.raises(UploadNotFound):
        await gateway.append(chunked.upload.id, 0, b"x" * 10)


async def test_an_unknown_upload_is_not_found(gateway: Gateway) -> None:
    for call in (gateway.look(unknown_id()), gateway.append(unknown_id(), 0, b"x")):
        with pytest.raises(UploadNotFound):
            await call


async def test_aborting_ends_an_append_in_flight(gateway: Gateway, other: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    line = Line(CONTENT[:5000], stalls=True)
    appending = asyncio.create_task(gateway.append(upload_id, 0, line))
    await line.sent.wait()
    await other.services.streams.abort(ME, upload_id)
    with pytest.raises(AppendInterrupted):
        await appending
    with pytest.raises(UploadNotOpen):
        await other.append(upload_id, 0, b"x")
    await other.services.streams.abort(ME, upload_id)


async def test_a_complete_upload_is_not_aborted(gateway: Gateway) -> None:
    upload_id = await gateway.create(3)
    await gateway.append(upload_id, 0, b"abc")
    with pytest.raises(UploadFinalized):
        await gateway.services.streams.abort(ME, upload_id)


async def test_a_name_follows_from_the_type_where_none_is_given(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(0, content_type="image/png")
    assert (await site.rig.get_upload(upload_id)).filename == "upload.png"


async def test_a_partial_upload_is_no_file(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(3, partial=True)
    status = await gateway.append(upload_id, 0, b"abc")
    assert (status.complete, status.job_id) == (True, None)
    assert (await site.rig.get_upload(upload_id)).state == UploadState.OPEN


async def test_bytes_that_the_storage_lost_can_be_sent_again(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    await gateway.append(upload_id, 0, CONTENT[:100])
    await site.rig.storage.abort(UploadKey(ME.tenant, upload_id))
    assert (await gateway.look(upload_id)).offset == 0
    await gateway.append(upload_id, 0, CONTENT)
    assert (await site.published(upload_id))[1] == CONTENT
