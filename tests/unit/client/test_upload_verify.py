"""What happens when the file changes, chunks are damaged or the job does not end."""

import asyncio
import os

import pytest

from client import (
    AsyncClient,
    FileChangedError,
    FileStateStore,
    JobFailedError,
    JobTimeoutError,
    UploadOptions,
)
from tests.unit.client.conftest import MakeFile
from tests.unit.client.stand_in import CHUNK_SIZE, StandIn

SIZE = 9 * CHUNK_SIZE + 17
CHUNKS = 10


async def test_a_file_that_changes_while_it_is_sent_is_an_error_and_leaves_nothing(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    held = stand_in.fault("PUT", "/chunks/5", "hold")
    upload = asyncio.create_task(client.upload_file(path, UploadOptions(store=store)))
    await asyncio.to_thread(held.reached.wait, 10)
    with path.open("r+b") as file:
        file.write(b"new")
    os.utime(path, ns=(1, 1))
    held.released.set()
    with pytest.raises(FileChangedError, match=r"data\.bin changed"):
        await upload
    assert [one.state for one in stand_in.uploads.values()] == ["aborted"]
    assert list(store.folder.iterdir()) == []


async def test_a_file_cut_short_while_it_is_sent_is_an_error(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SIZE)
    held = stand_in.fault("PUT", "/chunks/1", "hold")
    upload = asyncio.create_task(client.upload_file(path, UploadOptions(parallel=1)))
    await asyncio.to_thread(held.reached.wait, 10)
    os.truncate(path, 10)
    held.released.set()
    with pytest.raises(FileChangedError):
        await upload


async def test_damaged_chunks_are_sent_again_and_finalized_again(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SIZE)
    stand_in.damaged = [[2, 3], [7]]
    result = await client.upload_file(path)
    assert stand_in.contents[str(result.file_id)] == path.read_bytes()
    assert stand_in.count("PUT") == CHUNKS + 3


async def test_a_verification_that_fails_three_times_is_believed(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    stand_in.damaged = [[0]] * 9
    with pytest.raises(JobFailedError) as failure:
        await client.upload_file(make_file(SIZE))
    assert failure.value.code == "chunks_damaged"
    assert len(stand_in.jobs) == 3


async def test_chunks_found_missing_at_finalize_are_sent(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SIZE)
    held = stand_in.fault("POST", "/finalize", "hold")
    upload = asyncio.create_task(client.upload_file(path))
    await asyncio.to_thread(held.reached.wait, 10)
    next(iter(stand_in.uploads.values())).chunks.pop(4)
    held.released.set()
    result = await upload
    assert stand_in.contents[str(result.file_id)] == path.read_bytes()
    assert stand_in.count("PUT") == CHUNKS + 1


async def test_a_job_that_takes_too_long_is_left_to_the_server(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    with pytest.raises(JobTimeoutError):
        await client.upload_file(make_file(SIZE), UploadOptions(job_timeout=0))
    assert [one.state for one in stand_in.uploads.values()] == ["finalizing"]
