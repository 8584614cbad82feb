"""Sending a file to a real HTTP server with faults."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from client import (
    AsyncClient,
    FileStateStore,
    IntegrityError,
    InvalidArgumentError,
    SluiceApiError,
    SluiceConnectionError,
    SluiceProtocolError,
    UploadOptions,
)
from tests.unit.client.conftest import MakeFile
from tests.unit.client.stand_in import CHUNK_SIZE, StandIn

SIZE = 9 * CHUNK_SIZE + 17
CHUNKS = 10


async def test_a_file_arrives_whole_with_what_was_said_about_it(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SIZE)
    options = UploadOptions(content_type="a/b", description="d", tags={"k": "v"}, metadata={"m": 1})
    result = await client.upload_file(path, options)
    assert stand_in.contents[str(result.file_id)] == path.read_bytes()
    assert (result.resumed, result.sent_bytes, result.job.state) == (False, SIZE, "succeeded")
    request = stand_in.uploads[result.upload_id].request
    assert request == {
        "filename": "data.bin",
        "size": SIZE,
        "content_type": "a/b",
        "description": "d",
        "tags": {"k": "v"},
        "metadata": {"m": 1},
    }


async def test_every_chunk_is_sent_once(client: AsyncClient, stand_in: StandIn, make_file: MakeFile) -> None:
    await client.upload_file(make_file(SIZE), UploadOptions(parallel=7))
    assert stand_in.count("PUT") == len({line for line in stand_in.seen if line.startswith("PUT")}) == CHUNKS


async def test_an_empty_file_needs_no_chunk(client: AsyncClient, stand_in: StandIn, make_file: MakeFile) -> None:
    result = await client.upload_file(make_file(0))
    assert stand_in.contents[str(result.file_id)] == b""
    assert stand_in.count("PUT") == 0


async def test_bytes_from_memory_are_uploaded(client: AsyncClient, stand_in: StandIn) -> None:
    result = await client.upload_bytes(b"abc" * CHUNK_SIZE, "memory.bin")
    assert stand_in.contents[str(result.file_id)] == b"abc" * CHUNK_SIZE


async def test_a_chunk_of_several_pieces_is_streamed(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(5 * 1024 * 1024 + 3)
    result = await client.upload_file(path, UploadOptions(chunk_size=3 * 1024 * 1024))
    assert stand_in.contents[str(result.file_id)] == path.read_bytes()
    assert stand_in.count("PUT") == 2


async def test_every_chunk_and_the_whole_carry_a_digest(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    result = await client.upload_file(make_file(SIZE))
    assert stand_in.with_digest == CHUNKS
    assert stand_in.jobs[result.job.id]["declared"] == {"sha-256": result.sha256}


async def test_digests_can_be_turned_off(client: AsyncClient, stand_in: StandIn, make_file: MakeFile) -> None:
    path = make_file(SIZE)
    result = await client.upload_file(path, UploadOptions(chunk_digests=False, file_digest=False))
    assert stand_in.with_digest == 0
    assert stand_in.jobs[result.job.id]["declared"] == {}
    assert result.sha256 == stand_in.files[str(result.file_id)]["digests"]["sha-256"]


async def test_a_busy_server_is_tried_again_after_the_time_it_names(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    stand_in.fault("PUT", "/chunks/3", "answer", status=503, headers={"retry-after": "1"})
    started = time.monotonic()
    await client.upload_file(make_file(SIZE))
    assert time.monotonic() - started >= 1
    assert stand_in.count("PUT") == CHUNKS + 1


async def test_a_connection_cut_in_the_middle_of_a_chunk_is_tried_again(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SIZE)
    stand_in.fault("PUT", "/chunks/0", "cut", times=2)
    result = await client.upload_file(path)
    assert stand_in.contents[str(result.file_id)] == path.read_bytes()
    assert stand_in.count("PUT") == CHUNKS + 2
    assert result.sent_bytes == SIZE


async def test_a_chunk_whose_answer_was_lost_is_sent_again(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SIZE)
    stand_in.fault("PUT", "/chunks/1", "lose")
    result = await client.upload_file(path)
    assert stand_in.contents[str(result.file_id)] == path.read_bytes()


async def test_a_chunk_that_arrived_damaged_is_sent_again(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    stand_in.fault("PUT", "/chunks/2", "answer", status=422, code="digest_mismatch", times=2)
    await client.upload_file(make_file(SIZE))
    assert stand_in.count("PUT") == CHUNKS + 2


async def test_a_chunk_that_always_arrives_damaged_is_given_up(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    stand_in.fault("PUT", "/chunks/2", "answer", status=422, code="digest_mismatch", times=-1)
    with pytest.raises(SluiceApiError) as refused:
        await client.upload_file(make_file(SIZE), UploadOptions(parallel=1))
    assert refused.value.code == "digest_mismatch"
    assert stand_in.count("PUT") == 2 + 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"index": 1, "size": CHUNK_SIZE}, SluiceProtocolError),
        ({"index": 0, "size": 1}, SluiceProtocolError),
        ({"index": 0, "size": CHUNK_SIZE, "digests": {"sha-256": "00"}}, IntegrityError),
    ],
)
async def test_a_chunk_confirmed_wrongly_is_an_error(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, answer: dict[str, Any], error: type[Exception]
) -> None:
    stand_in.fault("PUT", "/chunks/0", "answer", status=200, body=answer)
    with pytest.raises(error, match="the server confirmed"):
        await client.upload_file(make_file(SIZE))


async def test_an_upload_with_other_bytes_at_the_server_is_given_up(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, store: FileStateStore
) -> None:
    path = make_file(SIZE)
    stand_in.fault("PUT", "/chunks/3", "answer", status=409, code="chunk_conflict")
    with pytest.raises(SluiceApiError, match="chunk_conflict"):
        await client.upload_file(path, UploadOptions(store=store))
    assert [one.state for one in stand_in.uploads.values()] == ["aborted"]
    assert not (await client.upload_file(path, UploadOptions(store=store))).resumed


async def test_other_refusals_are_not_repeated(client: AsyncClient, stand_in: StandIn, make_file: MakeFile) -> None:
    stand_in.fault("POST", "/v1/uploads", "answer", status=415, code="extension_not_allowed", times=-1)
    with pytest.raises(SluiceApiError) as refused:
        await client.upload_file(make_file(SIZE))
    assert (refused.value.status, refused.value.code, refused.value.request_id) == (415, "extension_not_allowed", "r-1")
    assert stand_in.count("POST") == 1


async def test_a_server_that_stays_broken_is_given_up_after_bounded_attempts(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    stand_in.fault("PUT", "/chunks/0", "cut", times=-1)
    with pytest.raises(SluiceConnectionError, match="5 attempts"):
        await client.upload_file(make_file(CHUNK_SIZE))
    assert stand_in.count("PUT") == 5


async def test_a_lost_create_answer_does_not_make_two_uploads(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile
) -> None:
    stand_in.fault("POST", "/v1/uploads", "lose")
    await client.upload_file(make_file(SIZE))
    assert stand_in.count("POST /v1/uploads") >= 3  # create, create again, finalize
    assert len(stand_in.uploads) == 1


@pytest.mark.parametrize(("name", "why"), [(".", "is a folder; give the files in it"), ("pipe", "not a regular file")])
async def test_only_regular_files_are_uploaded(client: AsyncClient, tmp_path: Path, name: str, why: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgumentError, match=why):
        await client.upload_file(tmp_path / name)
