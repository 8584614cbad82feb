"""A worker over each database, a real Redis and a real folder."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from common.settings import Settings
from common.storage.base import Segment, UploadKey
from tests.integration.worker.rig import TENANT, Body, Rig, close_rig, open_rig, worker_settings

FlipByte = Callable[[str, int], None]
SendChunk = Callable[[str, int, bytes], Awaitable[None]]


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return worker_settings(database_url, redis_url, tmp_path)


@pytest.fixture
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    """A worker that runs when it is told to."""
    rig = await open_rig(settings)
    yield rig
    await close_rig(rig)


@pytest.fixture
def flip_byte(tmp_path: Path) -> FlipByte:
    """Flip one bit of an upload's stored bytes, as a bad disk would."""

    def flip(upload_id: str, offset: int) -> None:
        [data] = (tmp_path / "storage").glob(f"*/uploads/{upload_id}/data")
        with data.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))

    return flip


@pytest.fixture
def send_chunk(rig: Rig) -> SendChunk:
    """Store a chunk again, as the gateway would."""

    async def send(upload_id: str, offset: int, piece: bytes) -> None:
        await rig.storage.write(UploadKey(TENANT, upload_id), Segment(offset, len(piece)), Body(piece))

    return send
