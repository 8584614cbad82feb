"""A process dies before any one of its requests to the store; another one does the same again, and all is well.

Each scenario runs again and again; in run n the process dies after n requests, until a run ends unharmed.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from common.errors import ChunksDamaged, StorageUnavailable
from common.storage.base import ObjectKey, UploadKey
from common.storage.s3 import S3Storage
from tests.contract.rot import flip_in_bucket
from tests.contract.storage_parts import CHUNK, beginning, content_of, digests_of, put, put_all, random_bytes, seal
from tests.faults.store.conftest import OpenS3
from tests.fixtures.faults import FaultReport
from tests.fixtures.faulty_store import FaultyStore
from tests.fixtures.s3 import S3Server

CONTENT = random_bytes(2 * CHUNK + 1000)
MOST_REQUESTS = 100


@dataclass
class Bench:
    """What a scenario works with: `mortal` dies, the others are processes that come after it."""

    mortal: S3Storage
    open_another: OpenS3
    store: FaultyStore
    damage: Callable[[UploadKey, int], None]


Scenario = Callable[[Bench, UploadKey], Awaitable[None]]


async def dying(bench: Bench, requests: int, work: Awaitable[Any]) -> None:
    bench.store.stop_after(requests)
    with suppress(StorageUnavailable, FileNotFoundError, ChunksDamaged):
        await work


async def finished(bench: Bench, upload: UploadKey) -> None:
    """Another process brings the upload to its end: it sends what is missing and seals."""
    storage = await bench.open_another(s3_attempts=1, s3_held_chunk="32KiB")
    await storage.begin(*beginning(upload, len(CONTENT)))
    there = {receipt.offset for receipt in await storage.receipts(upload)}
    for offset in range(0, len(CONTENT), CHUNK):
        if offset not in there:
            await put(storage, upload, offset, CONTENT[offset : offset + CHUNK])
    target = ObjectKey(upload.tenant, upload.upload_id)
    try:
        sealed = await seal(storage, upload, target, CONTENT)
    except ChunksDamaged as damaged:
        for index in damaged.extras["chunks"]:
            await put(storage, upload, index * CHUNK, CONTENT[index * CHUNK : (index + 1) * CHUNK])
        sealed = await seal(storage, upload, target, CONTENT)
    assert sealed.digests == digests_of(CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT
    await storage.abort(upload)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def begin(bench: Bench, upload: UploadKey, requests: int) -> None:
    await dying(bench, requests, bench.mortal.begin(*beginning(upload, len(CONTENT))))


async def write(bench: Bench, upload: UploadKey, requests: int) -> None:
    await bench.mortal.begin(*beginning(upload, len(CONTENT)))
    await dying(bench, requests, put(bench.mortal, upload, 0, CONTENT[:CHUNK]))


async def sealing(bench: Bench, upload: UploadKey, requests: int) -> None:
    await bench.mortal.begin(*beginning(upload, len(CONTENT)))
    await put_all(bench.mortal, upload, CONTENT)
    target = ObjectKey(upload.tenant, upload.upload_id)
    await dying(bench, requests, seal(bench.mortal, upload, target, CONTENT))


async def finding_damage(bench: Bench, upload: UploadKey, requests: int) -> None:
    await bench.mortal.begin(*beginning(upload, len(CONTENT)))
    await put_all(bench.mortal, upload, CONTENT)
    bench.damage(upload, CHUNK + 7)
    target = ObjectKey(upload.tenant, upload.upload_id)
    await dying(bench, requests, seal(bench.mortal, upload, target, CONTENT))


@pytest.fixture
async def bench(open_storage: OpenS3, store: FaultyStore, s3_server: S3Server, s3_settings: dict[str, str]) -> Bench:
    place = {"storage_url": s3_settings["SLUICE_STORAGE_URL"], "s3_endpoint_url": s3_server.endpoint}
    folder: Path | None = s3_server.folder
    mortal = await open_storage(s3_attempts=1, s3_held_chunk="32KiB")
    return Bench(mortal, open_storage, store, lambda key, at: flip_in_bucket(place, key, at, CONTENT, folder))


@pytest.fixture
def points(faults: FaultReport) -> range:
    """Before which requests to die: all of them in the full form, every fourth in the short one."""
    return range(0, MOST_REQUESTS, 1 if faults.full else 4)


@pytest.mark.parametrize("scenario", [begin, write, sealing, finding_damage])
async def test_dying_before_any_request_loses_nothing(
    bench: Bench, points: range, scenario: Callable[..., Awaitable[None]]
) -> None:
    for requests in points:
        upload = UploadKey("default", str(uuid7()))
        await scenario(bench, upload, requests)
        died = bench.store.stopped
        bench.store.heal()
        await finished(bench, upload)
        if not died:
            break
    else:
        pytest.fail("the scenario does not end")
    assert requests > 2


async def test_an_abort_that_dies_is_finished_by_the_next_one(bench: Bench, points: range) -> None:
    for requests in points:
        upload = UploadKey("default", str(uuid7()))
        await bench.mortal.begin(*beginning(upload, len(CONTENT)))
        await put_all(bench.mortal, upload, CONTENT)
        await dying(bench, requests, bench.mortal.abort(upload))
        died = bench.store.stopped
        bench.store.heal()
        storage = await bench.open_another()
        await storage.abort(upload)
        assert [key async for batch in storage.uploads() for key in batch] == []
        assert [key async for batch in storage.unsealed() for key in batch] == []
        if not died:
            break
    assert requests > 2
