"""A process dies before any one of its requests to the store while it appends, puts parts together, or seals a stream;
another one goes on where the log ends, and all is well."""

from collections.abc import Awaitable, Callable

import pytest
from uuid_utils import uuid7

from common.errors import ChunksDamaged
from common.storage.base import ObjectKey, Segment, UploadKey
from common.storage.s3 import S3Storage
from tests.contract.storage_parts import CHUNK, Body, Watcher, content_of, digests_of, random_bytes
from tests.contract.test_appends_contract import seal, streaming
from tests.faults.store.test_crash_points import MOST_REQUESTS, Bench, bench, dying
from tests.fixtures.faults import FaultReport

__all__ = ["bench"]  # a fixture

CONTENT = random_bytes(2 * CHUNK + 1000)
CUT = CHUNK + 501  # where the first of two parts ends
Scenario = Callable[[Bench, UploadKey, int], Awaitable[bool]]
"""Whether the process has died: there was a request more than it might make."""


async def append(storage: S3Storage, key: UploadKey, content: bytes, end: int) -> None:
    """Append `content` up to `end`, from where the stream ends."""
    start = await storage.end(key)
    if start < end:
        await storage.append(key, Segment(start, end - start), Body(content[start:end]))


async def finished(bench: Bench, upload: UploadKey) -> None:
    """Another process brings the stream to its end: it appends what is missing and seals."""
    storage = await bench.open_another(s3_attempts=1, s3_held_chunk="32KiB")
    await storage.begin(*streaming(upload, len(CONTENT)))
    await append(storage, upload, CONTENT, len(CONTENT))
    target = ObjectKey(upload.tenant, upload.upload_id)
    try:
        sealed = await seal(storage, upload, CONTENT)
    except ChunksDamaged:
        await append(storage, upload, CONTENT, len(CONTENT))
        sealed = await seal(storage, upload, CONTENT)
    assert sealed.digests == digests_of(CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT
    await storage.abort(upload)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


def healed(bench: Bench) -> bool:
    died = bench.store.stopped
    bench.store.heal()
    return died


async def appending(bench: Bench, upload: UploadKey, requests: int) -> bool:
    """What was told to be stored is, whatever happened to the next append."""
    await bench.mortal.begin(*streaming(upload, len(CONTENT)))
    await append(bench.mortal, upload, CONTENT, 1000)
    await dying(bench, requests, append(bench.mortal, upload, CONTENT, 2 * CHUNK))
    died = healed(bench)
    another = await bench.open_another(s3_attempts=1)
    assert await another.end(upload) in ((1000, 2 * CHUNK) if died else (2 * CHUNK,))
    return died


async def sealing(bench: Bench, upload: UploadKey, requests: int) -> bool:
    await bench.mortal.begin(*streaming(upload, len(CONTENT)))
    for end in (CHUNK, CHUNK + 1000, len(CONTENT)):
        await append(bench.mortal, upload, CONTENT, end)
    await dying(bench, requests, seal(bench.mortal, upload, CONTENT))
    return healed(bench)


async def finding_damage(bench: Bench, upload: UploadKey, requests: int) -> bool:
    await bench.mortal.begin(*streaming(upload, len(CONTENT)))
    for end in (CHUNK, CHUNK + 1000, len(CONTENT)):
        await append(bench.mortal, upload, CONTENT, end)
    bench.damage(upload, CHUNK + 7)
    await dying(bench, requests, seal(bench.mortal, upload, CONTENT))
    return healed(bench)


async def joining(bench: Bench, upload: UploadKey, requests: int) -> bool:
    parts = []
    for content in (CONTENT[:CUT], CONTENT[CUT:]):
        key = UploadKey("default", str(uuid7()))
        await bench.mortal.begin(*streaming(key, len(content)))
        await append(bench.mortal, key, content, len(content))
        parts.append((key, len(content)))
    await bench.mortal.begin(*streaming(upload, len(CONTENT)))
    await dying(bench, requests, bench.mortal.concatenate(upload, parts, Watcher().watch))
    died = healed(bench)
    another = await bench.open_another(s3_attempts=1)
    await another.concatenate(upload, parts, Watcher().watch)
    assert await another.end(upload) == len(CONTENT)
    return died


@pytest.fixture
def points(faults: FaultReport) -> range:
    """Before which requests to die: all of them in the full form, every seventh in the short one; a stream makes more
    of them than chunks do."""
    return range(0, MOST_REQUESTS, 1 if faults.full else 7)


@pytest.mark.parametrize("scenario", [appending, sealing, finding_damage, joining])
async def test_dying_before_any_request_loses_nothing_of_a_stream(
    bench: Bench, points: range, scenario: Scenario
) -> None:
    for requests in points:
        upload = UploadKey("default", str(uuid7()))
        died = await scenario(bench, upload, requests)
        await finished(bench, upload)
        if not died:
            break
    else:
        pytest.fail("the scenario does not end")
    assert requests > 2
