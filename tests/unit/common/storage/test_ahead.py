"""What was hashed while an upload arrived saves work at its seal, and is believed in nothing."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from common.errors import ChunksDamaged
from common.storage import ahead as ahead_module
from common.storage import seal as seal_module
from common.storage.base import ObjectKey, Segment, UploadKey
from common.storage.layout import UploadPaths
from common.storage.readback import read_back
from tests.contract.storage_parts import CHUNK, beginning, digests_of, put, seal
from tests.unit.common.storage.conftest import OpenLocal

STOP = threading.Event()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Segment]:
    """What a seal reads in order to hash it."""
    pieces: list[Segment] = []

    def reading(descriptor: int, segments: Sequence[Segment], *args: Any) -> Any:
        pieces.extend(segments)
        return read_back(descriptor, segments, *args)

    monkeypatch.setattr(seal_module, "read_back", reading)
    return pieces


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


async def test_a_prefix_grows_over_what_has_arrived_up_to_the_first_hole(
    opened: OpenLocal, upload: UploadKey, content: bytes
) -> None:
    storage = opened()
    await storage.begin(*beginning(upload, len(content)))
    prefix = storage.prefix(upload)
    assert not await storage.hash_ahead(prefix, STOP)
    for index in (0, 2):
        await put(storage, upload, index * CHUNK, content[index * CHUNK :][:CHUNK])
    assert await storage.hash_ahead(prefix, STOP)
    assert prefix.length == CHUNK
    await put(storage, upload, CHUNK, content[CHUNK : 2 * CHUNK])
    assert await storage.hash_ahead(prefix, STOP)
    assert prefix.length == 3 * CHUNK
    assert not await storage.hash_ahead(prefix, STOP)


async def test_a_seal_hashes_only_what_follows_the_prefix(
    opened: OpenLocal, upload: UploadKey, target: ObjectKey, content: bytes, hashed: list[Segment]
) -> None:
    storage, gateway = opened(), opened()
    await storage.begin(*beginning(upload, len(content)))
    prefix = storage.prefix(upload)
    for offset in range(0, 2 * CHUNK, CHUNK):
        await put(gateway, upload, offset, content[offset : offset + CHUNK])
    await storage.hash_ahead(prefix, STOP)
    for offset in range(2 * CHUNK, len(content), CHUNK):
        await put(gateway, upload, offset, content[offset : offset + CHUNK])
    sealed = await seal(storage, upload, target, content, declared=digests_of(content), prefix=prefix)
    assert sealed.digests == digests_of(content)
    assert [piece.offset for piece in hashed] == [2 * CHUNK, 3 * CHUNK]


async def test_a_prefix_of_the_whole_upload_leaves_nothing_to_hash(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, hashed: list[Segment]
) -> None:
    storage = opened()
    prefix = storage.prefix(received)
    await storage.hash_ahead(prefix, STOP)
    sealed = await seal(storage, received, target, content, prefix=prefix)
    assert (sealed.digests, hashed) == (digests_of(content), [])


@pytest.mark.parametrize("damaged", [0, 2])
async def test_bytes_that_went_bad_after_they_were_hashed_are_found(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, paths: UploadPaths, damaged: int
) -> None:
    storage = opened()
    prefix = storage.prefix(received)
    await storage.hash_ahead(prefix, STOP)
    flip(paths.data, damaged * CHUNK + 1)
    with pytest.raises(ChunksDamaged) as error:
        await seal(storage, received, target, content, prefix=prefix)
    assert error.value.extras["chunks"] == [damaged]


async def test_a_piece_that_is_not_as_it_was_received_ends_the_prefix(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, paths: UploadPaths
) -> None:
    storage = opened()
    flip(paths.data, CHUNK + 1)
    prefix = storage.prefix(received)
    await storage.hash_ahead(prefix, STOP)
    assert prefix.length == CHUNK
    with pytest.raises(ChunksDamaged) as error:
        await seal(storage, received, target, content, prefix=prefix)
    assert error.value.extras["chunks"] == [1]


async def test_a_prefix_of_other_bytes_in_the_same_place_is_not_used(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, hashed: list[Segment]
) -> None:
    storage = opened()
    prefix = storage.prefix(received)
    await storage.hash_ahead(prefix, STOP)
    await storage.abort(received)
    await storage.begin(*beginning(received, len(content)))
    other = content[::-1]
    for offset in range(0, len(other), CHUNK):
        await put(storage, received, offset, other[offset : offset + CHUNK])
    sealed = await seal(storage, received, target, other, prefix=prefix)
    assert sealed.digests == digests_of(other)
    assert hashed[0].offset == 0


async def test_a_digest_that_was_not_computed_ahead_needs_the_whole_file(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, hashed: list[Segment]
) -> None:
    storage = opened()
    prefix = storage.prefix(received)
    await storage.hash_ahead(prefix, STOP)
    declared = {"sha-512": hashlib.sha512(content).digest()}
    sealed = await seal(storage, received, target, content, declared=declared, prefix=prefix)
    assert sealed.digests["sha-512"] == declared["sha-512"]
    assert hashed[0].offset == 0


async def test_no_upload_keeps_the_others_from_their_turn(
    opened: OpenLocal, received: UploadKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_module, "STEP", CHUNK)
    storage = opened()
    prefix = storage.prefix(received)
    await storage.hash_ahead(prefix, STOP)
    assert prefix.length == CHUNK


async def test_an_upload_that_is_gone_is_not_hashed(opened: OpenLocal, upload: UploadKey) -> None:
    storage = opened()
    with pytest.raises(FileNotFoundError):
        await storage.hash_ahead(storage.prefix(upload), STOP)
