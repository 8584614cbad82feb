"""Bodies that are held whole: only while there is room, counted from the first byte on, verified like all others."""

import hashlib
import random
from collections.abc import AsyncIterator

import pytest
from awscrt import checksums

from common.digests import CRC_64, SHA_256, crc64_bytes
from common.errors import BodyIncomplete, DigestMismatch
from gateway.intake import HASH_INLINE, MAX_PIECES, SMALL_BATCH, Intake, IntakeMemory, Pieces
from tests.unit.gateway.conftest import BodyOf

MIB = 1024 * 1024


def test_there_is_always_room_for_what_is_small(memory: IntakeMemory) -> None:
    memory.held = memory.unread = 100 * MIB
    assert memory.has_room_for(SMALL_BATCH)
    assert not memory.has_room_for(SMALL_BATCH + 1)


@pytest.mark.parametrize(("held", "unread"), [(15 * MIB + 1, 0), (0, 15 * MIB + 1), (8 * MIB, 8 * MIB)])
def test_there_is_room_for_larger_ones_while_half_of_the_memory_is_free(
    memory: IntakeMemory, held: int, unread: int
) -> None:
    assert memory.has_room_for(MIB)
    memory.held, memory.unread = held, unread
    assert not memory.has_room_for(MIB)


def test_there_is_no_room_for_more_than_a_batch(memory: IntakeMemory) -> None:
    assert not memory.has_room_for(MIB + 1)


@pytest.mark.parametrize("size", [0, 1, HASH_INLINE, SMALL_BATCH, MIB])
async def test_it_comes_whole_and_counted(body_of: BodyOf, memory: IntakeMemory, size: int) -> None:
    content = random.Random(size).randbytes(size)
    declared = {SHA_256: hashlib.sha256(content).digest(), CRC_64: crc64_bytes(checksums.crc64nvme(content))}
    pieces = [content[start : start + 5000] for start in range(0, size, 5000)]
    source = Intake(Pieces(body_of(pieces)), memory, limit=size, declared=declared)
    assert b"".join(await source.whole()) == content
    assert (source.length, source.crc64) == (size, checksums.crc64nvme(content))


async def test_what_has_not_come_is_promised_until_it_is_there_or_closed(memory: IntakeMemory) -> None:
    seen = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(10):
            seen.append((memory.held, memory.promised))
            yield b"x"

    source = Intake(Pieces(body()), memory, limit=10)
    await source.whole()
    assert seen == [(come, 10 - come) for come in range(10)]
    assert (memory.held, memory.promised) == (10, 0)
    source.close()
    assert (memory.held, memory.promised) == (0, 0)


async def test_promises_count_for_others_who_want_to_be_held_whole_and_for_nobody_else(memory: IntakeMemory) -> None:
    memory.promised = 15 * MIB + 1
    assert not memory.has_room_for(MIB)
    assert not memory.is_short


async def test_tiny_pieces_do_not_grow_the_list(body_of: BodyOf, memory: IntakeMemory) -> None:
    source = Intake(Pieces(body_of([b"x"] * 5000)), memory, limit=5000)
    batch = await source.whole()
    assert len(batch) < MAX_PIECES
    assert b"".join(batch) == b"x" * 5000


@pytest.mark.parametrize("size", [100, SMALL_BATCH])
async def test_one_wrong_bit_is_refused(body_of: BodyOf, memory: IntakeMemory, size: int) -> None:
    source = Intake(Pieces(body_of([bytes(size)])), memory, limit=size, declared={SHA_256: bytes(32)})
    with pytest.raises(DigestMismatch):
        await source.whole()


async def test_what_breaks_off_gives_its_memory_back(body_of: BodyOf, memory: IntakeMemory) -> None:
    source = Intake(Pieces(body_of([b"12"], BodyIncomplete("gone"))), memory, limit=10)
    with pytest.raises(BodyIncomplete):
        await source.whole()
    assert (memory.held, memory.promised) == (2, 8)
    source.close()
    assert (memory.held, memory.promised) == (0, 0)
