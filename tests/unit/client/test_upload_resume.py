"""Going on with an upload that was interrupted."""

import asyncio
from pathlib import Path

import pytest

from client import (
    AsyncClient,
    FileStateStore,
    RetryPolicy,
    SluiceApiError,
    SluiceConnectionError,
    UploadOptions,
)
from tests.unit.client.conftest import MakeFile
from tests.unit.client.stand_in import CHUNK_SIZE, StandIn

SIZE = 9 * CHUNK_SIZE + 17
CHUNKS = 10


async def test_a_run_that_never_saw_the_create_answer_is_found_again_by_its_key(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path, options = make_file(SIZE), UploadOptions(store=store)
    stand_in.fault("POST", "/v1/uploads", "lose", times=5)
    with pytest.raises(SluiceConnectionError):
        await client.upload_file(path, options)
    await client.upload_file(path, options)
    assert len(stand_in.uploads) == 1


async def test_a_run_that_never_had_a_connection_leaves_no_state(
    make_file: MakeFile, store: FileStateStore, patience: RetryPolicy, free_port: int
) -> None:
    async with AsyncClient(f"http://127.0.0.1:{free_port}", retry=patience) as client:
        with pytest.raises(SluiceConnectionError):
            await client.upload_file(make_file(SIZE), UploadOptions(store=store))
    assert list(store.folder.iterdir()) == []


async def test_a_refused_beginning_leaves_no_state_and_the_next_may_ask_for_something_else(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    stand_in.fault("POST", "/v1/uploads", "answer", status=415, code="extension_not_allowed")
    with pytest.raises(SluiceApiError):
        await client.upload_file(path, UploadOptions(store=store, filename="a.exe"))
    assert list(store.folder.iterdir()) == []
    assert (await client.upload_file(path, UploadOptions(store=store, filename="a.txt"))).filename == "a.txt"


async def test_a_beginning_that_is_refused_at_its_repetition_is_made_anew(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    stand_in.fault("POST", "/v1/uploads", "lose", times=5)
    with pytest.raises(SluiceConnectionError):
        await client.upload_file(path, UploadOptions(store=store, filename="a.exe"))
    stand_in.fault("POST", "/v1/uploads", "answer", status=415, code="extension_not_allowed")
    assert (await client.upload_file(path, UploadOptions(store=store, filename="a.txt"))).filename == "a.txt"


async def test_a_resume_sends_only_what_is_missing(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    options = UploadOptions(store=store, parallel=1)
    stand_in.fault("PUT", "/chunks/4", "answer", status=403, code="forbidden")
    with pytest.raises(SluiceApiError):
        await client.upload_file(path, options)
    stand_in.seen.clear()
    result = await client.upload_file(path, options)
    assert (result.resumed, result.sent_bytes) == (True, SIZE - 4 * CHUNK_SIZE)
    assert (stand_in.count("PUT"), stand_in.count("POST /v1/uploads")) == (CHUNKS - 4, 1)
    assert stand_in.contents[str(result.file_id)] == path.read_bytes()


async def test_a_cancelled_upload_can_be_resumed(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    held = stand_in.fault("PUT", "/chunks/5", "hold")
    upload = asyncio.create_task(client.upload_file(path, UploadOptions(store=store, parallel=1)))
    await asyncio.to_thread(held.reached.wait, 10)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    result = await client.upload_file(path, UploadOptions(store=store))
    assert (result.resumed, result.sent_bytes) == (True, SIZE - 5 * CHUNK_SIZE)


async def test_progress_of_a_resumed_upload_starts_at_what_was_there(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    seen: list[tuple[int, int]] = []
    options = UploadOptions(store=store, parallel=1, progress=lambda *moved: seen.append(moved))
    stand_in.fault("PUT", "/chunks/4", "answer", status=403, code="forbidden")
    with pytest.raises(SluiceApiError):
        await client.upload_file(path, options)
    seen.clear()
    await client.upload_file(path, options)
    assert seen[0] == (4 * CHUNK_SIZE, SIZE)
    assert seen[-1] == (SIZE, SIZE)
    assert seen == sorted(seen)


@pytest.mark.parametrize("state", ["aborted", "expired", "failed"])
async def test_a_resume_of_an_upload_that_ended_starts_over(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore, state: str
) -> None:
    path = make_file(SIZE)
    await interrupt(client, stand_in, path, store)
    next(iter(stand_in.uploads.values())).state = state
    result = await client.upload_file(path, UploadOptions(store=store))
    assert (result.resumed, result.sent_bytes) == (False, SIZE)


async def test_a_resume_of_an_upload_that_is_gone_starts_over(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    await interrupt(client, stand_in, path, store)
    stand_in.uploads.clear()
    stand_in.keys.clear()
    result = await client.upload_file(path, UploadOptions(store=store))
    assert not result.resumed


async def test_a_resume_of_an_accepted_upload_waits_for_its_job(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    waiting = await client.upload_file(path, UploadOptions(store=store, wait=False))
    assert (waiting.job.state, waiting.file_id) == ("queued", None)
    stand_in.seen.clear()
    result = await client.upload_file(path, UploadOptions(store=store))
    assert result.job.id == waiting.job.id
    assert (result.resumed, result.sent_bytes, stand_in.count("PUT")) == (True, 0, 0)
    assert result.sha256 is not None


async def test_a_resume_whose_file_was_removed_meanwhile_starts_over(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    waiting = await client.upload_file(path, UploadOptions(store=store, wait=False))
    await client.delete_file(str((await client.wait_for_job(waiting.job.id)).file_id))
    result = await client.upload_file(path, UploadOptions(store=store))
    assert (result.resumed, result.sent_bytes) == (False, SIZE)
    assert result.file_id in stand_in.files


async def test_what_a_resume_newly_says_about_the_file_is_added(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    await interrupt(client, stand_in, path, store)
    await client.upload_file(path, UploadOptions(store=store, tags={"late": "yes"}))
    assert stand_in.patches == [{"tags": {"late": "yes"}}]


async def test_a_finished_upload_is_forgotten(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    first = await client.upload_file(path, UploadOptions(store=store))
    assert list(store.folder.iterdir()) == []
    second = await client.upload_file(path, UploadOptions(store=store))
    assert first.file_id != second.file_id


async def interrupt(client: AsyncClient, stand_in: StandIn, path: Path, store: FileStateStore) -> None:
    """Begin an upload that is refused at its fifth chunk."""
    stand_in.fault("PUT", "/chunks/4", "answer", status=403, code="forbidden")
    with pytest.raises(SluiceApiError):
        await client.upload_file(path, UploadOptions(store=store, parallel=1))
