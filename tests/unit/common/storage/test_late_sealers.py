"""Sealers that come late: hung in the middle, overtaken by another, without a lease."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from common.errors import ChunksDamaged, LeaseLost, UploadNotOpen
from common.storage import seal as seal_module
from common.storage.base import ObjectKey, SealPlan, SealWatch, Segment, UploadKey
from common.storage.layout import UploadPaths
from common.storage.readback import read_back
from tests.contract.storage_parts import CHUNK, Body, content_of, digests_of, put, seal
from tests.unit.common.storage.conftest import OpenLocal


class HungReading:
    """The first reading of stored bytes hangs until `go_on`; all others run."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self._first = threading.Event()

    def __call__(self, *args: Any) -> Any:
        if not self._first.is_set():
            found = read_back(*args)
            self._first.set()
            assert self.go_on.wait(20)
            return found
        return read_back(*args)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._first.wait, 20)


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> HungReading:
    reading = HungReading()
    monkeypatch.setattr(seal_module, "read_back", reading)
    return reading


async def test_a_sealer_that_hangs_in_its_reading_keeps_nobody_from_sealing(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, hung: HungReading
) -> None:
    late = asyncio.create_task(seal(opened(), received, target, content))
    await hung.reached()
    sealed = await seal(opened(), received, target, content)
    hung.go_on.set()
    assert await late == sealed
    assert await content_of(opened(), target, len(content)) == content


async def test_no_chunk_is_taken_while_a_sealer_reads(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, hung: HungReading
) -> None:
    sealing = asyncio.create_task(seal(opened(), received, target, content))
    await hung.reached()
    body = Body(content[:CHUNK])
    with pytest.raises(UploadNotOpen):
        await opened().write(received, Segment(0, CHUNK), body)
    hung.go_on.set()
    await sealing
    assert not body.started


async def test_a_sealer_that_was_overtaken_by_one_that_found_damage_changes_nothing(
    opened: OpenLocal, paths: UploadPaths, received: UploadKey, target: ObjectKey, content: bytes, hung: HungReading
) -> None:
    late = asyncio.create_task(seal(opened(), received, target, content))
    await hung.reached()
    flip(paths.data, CHUNK)
    with pytest.raises(ChunksDamaged):
        await seal(opened(), received, target, content)
    flip(paths.data, CHUNK)  # so that the late one has read what is right
    hung.go_on.set()
    with pytest.raises(LeaseLost):
        await late
    await put(opened(), received, CHUNK, content[CHUNK : 2 * CHUNK])
    assert (await seal(opened(), received, target, content)).digests == digests_of(content)


async def test_a_sealer_whose_lease_is_over_changes_nothing(
    opened: OpenLocal, paths: UploadPaths, received: UploadKey, target: ObjectKey, content: bytes
) -> None:
    watch = SealWatch(lambda _: None, threading.Event(), held=lambda: False)
    before = sorted(paths.folder.iterdir())
    with pytest.raises(LeaseLost):
        await opened().seal(received, SealPlan(target, len(content), CHUNK), watch)
    assert sorted(paths.folder.iterdir()) == before


async def test_damage_takes_the_mark_away_and_lets_chunks_in(
    opened: OpenLocal, paths: UploadPaths, received: UploadKey, target: ObjectKey, content: bytes
) -> None:
    storage = opened(durability="chunk")
    flip(paths.data, 0)
    with pytest.raises(ChunksDamaged):
        await seal(storage, received, target, content)
    assert not paths.sealing.exists()
    await put(storage, received, 0, content[:CHUNK])


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        [byte] = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
