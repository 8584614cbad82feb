"""Intake: what goes in comes out, in bounded batches, counted, checksummed, and the memory is given back."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Iterable

import pytest
from awscrt import checksums
from hypothesis import given, settings
from hypothesis import strategies as st

from common.digests import CRC_64, StreamHasher, crc64_bytes
from common.errors import BodyIncomplete, ChunkLength, DigestMismatch
from common.settings import HttpSettings
from gateway.intake import MAX_PIECES, READ_LEAST, READ_MOST, SMALL_BATCH, Intake, IntakeMemory, Pieces
from tests.unit.gateway.conftest import BodyOf

MIB = 1024 * 1024
EDGES = [1, 7, SMALL_BATCH - 1, SMALL_BATCH, SMALL_BATCH + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """`data` in pieces of these sizes, the rest as the last."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return [*pieces, data[start:]]


async def taken(source: Intake) -> bytes:
    return b"".join([piece async for batch in source for piece in batch])


# --- pieces -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * SMALL_BATCH), max_size=6), takes=st.lists(st.integers(1, 2 * MIB), min_size=1))
async def test_any_takes_from_any_pieces_give_the_body(sizes: list[int], takes: list[int]) -> None:
    data = noise(sum(sizes))

    async def body() -> AsyncIterator[bytes]:
        for piece in cut(data, sizes):
            yield piece

    pieces, got = Pieces(body()), b""
    for most in [*takes, *([SMALL_BATCH] * 30)]:
        if await pieces.ended():  # looking must not lose anything
            break
        piece = await pieces.take(most)
        assert 0 < len(piece) <= most
        got += piece
    assert got == data
    assert await pieces.take(1) == b""


@pytest.mark.parametrize("size", EDGES)
async def test_a_piece_that_was_looked_at_is_whole(body_of: BodyOf, size: int) -> None:
    pieces = Pieces(body_of([noise(size)]))
    assert not await pieces.ended()
    got = b""
    while piece := await pieces.take(MIB):
        got += piece
    assert got == noise(size)


async def test_nothing_is_read_before_it_is_asked_for(body_of: BodyOf, memory: IntakeMemory) -> None:
    pieces = Pieces(body_of([b"x"]))
    source = Intake(pieces, memory, limit=1)
    assert not source.started
    await taken(source)
    assert source.started


# --- what goes in comes out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("step", [1000, SMALL_BATCH, 2 * MIB])
async def test_a_body_comes_out_as_it_went_in(body_of: BodyOf, memory: IntakeMemory, size: int, step: int) -> None:
    data = noise(size)
    pieces = [data[start : start + step] for start in range(0, size, step)]
    source = Intake(Pieces(body_of(pieces)), memory, limit=size, exact=True, declared={
        "sha-256": hashlib.sha256(data).digest(), CRC_64: crc64_bytes(checksums.crc64nvme(data)),
    })  # fmt: skip
    assert await taken(source) == data
    assert (source.length, source.crc64) == (size, checksums.crc64nvme(data))
    assert memory.held == 0


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 2 * SMALL_BATCH), max_size=8), limit=st.integers(1000, 4 * SMALL_BATCH))
async def test_segments_of_one_body_follow_each_other(sizes: list[int], limit: int) -> None:
    data, memory = noise(sum(sizes)), IntakeMemory(HttpSettings())

    async def body() -> AsyncIterator[bytes]:
        for piece in cut(data, sizes):
            yield piece

    pieces, got = Pieces(body()), b""
    while not await pieces.ended():
        segment = await taken(Intake(pieces, memory, limit=limit))
        assert 0 < len(segment) <= limit
        got += segment
    assert got == data
    assert memory.held == 0


async def test_batches_are_about_as_large_as_the_setting(body_of: BodyOf, memory: IntakeMemory) -> None:
    source = Intake(Pieces(body_of([bytes(100_000)] * 50)), memory, limit=5_000_000)
    sizes = [sum(map(len, batch)) async for batch in source]
    assert all(MIB <= size < 2 * MIB for size in sizes[:-1])
    assert sum(sizes) == 5_000_000


async def test_batches_shrink_when_half_of_the_memory_is_held(body_of: BodyOf, memory: IntakeMemory) -> None:
    memory.held = 32 * MIB
    source = Intake(Pieces(body_of([bytes(10_000)] * 50)), memory, limit=500_000)
    sizes = [sum(map(len, batch)) async for batch in source]
    assert max(sizes) < SMALL_BATCH + 10_000
    assert memory.held == 32 * MIB


async def test_bytes_that_nobody_has_read_yet_count_as_well(body_of: BodyOf, memory: IntakeMemory) -> None:
    memory.unread = 16 * MIB
    source = Intake(Pieces(body_of([bytes(10_000)] * 50)), memory, limit=500_000)
    assert max([sum(map(len, batch)) async for batch in source]) < SMALL_BATCH + 10_000


async def test_nothing_is_gathered_beside_a_batch_while_memory_is_short(body_of: BodyOf, memory: IntakeMemory) -> None:
    others = memory.held = 16 * MIB
    source = Intake(Pieces(body_of([bytes(10_000)] * 50)), memory, limit=500_000)
    held = []
    async for batch in source:
        assert not source.read_ahead
        held.append(memory.held - others - sum(map(len, batch)))
    assert held == [0] * len(held)


def test_reads_shrink_as_memory_fills_but_never_end(memory: IntakeMemory) -> None:
    sizes = []
    for held, unread in ((0, 0), (15, 0), (15 * MIB, MIB - 100_000), (16 * MIB, 0), (100 * MIB, 100 * MIB)):
        memory.held, memory.unread = held, unread
        sizes.append(memory.read_size())
    assert sizes == [READ_MOST, READ_MOST, 50_000, READ_LEAST, READ_LEAST]


def test_batches_become_smaller_before_half_of_the_memory_is_held(memory: IntakeMemory) -> None:
    sizes = []
    for _ in range(30):
        sizes.append(memory.batch_size())
        memory.held += sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 4
    assert (sizes[0], sizes[-1]) == (MIB, SMALL_BATCH)


async def test_a_batch_of_tiny_pieces_has_no_more_than_one_gather_write_takes(
    body_of: BodyOf, memory: IntakeMemory
) -> None:
    source = Intake(Pieces(body_of([b"x"] * 2000)), memory, limit=2000)
    assert [len(batch) async for batch in source] == [MAX_PIECES] * 3 + [2000 - 3 * MAX_PIECES]


async def test_never_more_than_two_batches_are_held(body_of: BodyOf, memory: IntakeMemory) -> None:
    source = Intake(Pieces(body_of([bytes(MIB)] * 9)), memory, limit=9 * MIB)
    held = [memory.held async for _ in source]
    assert max(held) == 2 * MIB


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 99])
async def test_a_body_that_is_too_short_is_refused(body_of: BodyOf, memory: IntakeMemory, size: int) -> None:
    with pytest.raises(ChunkLength, match=f"after {size}"):
        await taken(Intake(Pieces(body_of([bytes(size)])), memory, limit=100, exact=True))


@pytest.mark.parametrize("pieces", [[bytes(101)], [bytes(100), b"x"], [bytes(50), bytes(5000)]])
async def test_a_body_that_is_too_long_is_refused(body_of: BodyOf, memory: IntakeMemory, pieces: list[bytes]) -> None:
    with pytest.raises(ChunkLength, match="longer"):
        await taken(Intake(Pieces(body_of(pieces)), memory, limit=100, exact=True))


@pytest.mark.parametrize("size", [10, 100_000, 3 * MIB])
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512", "crc32c", "crc64nvme"])
async def test_one_wrong_bit_is_refused(body_of: BodyOf, memory: IntakeMemory, size: int, algorithm: str) -> None:
    hasher = StreamHasher([algorithm])
    hasher.update(noise(size))
    broken = bytearray(noise(size))
    broken[size // 2] ^= 1
    source = Intake(Pieces(body_of([bytes(broken)])), memory, limit=size, declared=hasher.digests())
    with pytest.raises(DigestMismatch) as refused:
        await taken(source)
    assert refused.value.extras == {"algorithms": [algorithm]}
    assert memory.held == 0


async def test_a_running_hasher_sees_all_segments_of_a_body(body_of: BodyOf, memory: IntakeMemory) -> None:
    data, running = noise(300_000), StreamHasher(["sha-256"])
    pieces = Pieces(body_of(cut(data, [50_000] * 5)))
    while not await pieces.ended():
        await taken(Intake(pieces, memory, limit=70_000, running=running))
    assert running.digests()["sha-256"] == hashlib.sha256(data).digest()


# --- the memory is given back -------------------------------------------------------------------------------


@pytest.mark.parametrize("arrived", [0, 1, 3])
async def test_memory_is_given_back_when_the_body_breaks_off(
    body_of: BodyOf, memory: IntakeMemory, arrived: int
) -> None:
    body = body_of([bytes(700_000)] * arrived, BodyIncomplete("gone"))
    with pytest.raises(BodyIncomplete):
        await taken(Intake(Pieces(body), memory, limit=5 * MIB))
    assert memory.held == 0


@pytest.mark.parametrize("batches", [1, 2, 3])
async def test_memory_is_given_back_when_the_writer_fails(body_of: BodyOf, memory: IntakeMemory, batches: int) -> None:
    source = Intake(Pieces(body_of([bytes(MIB)] * 9)), memory, limit=9 * MIB, declared={"sha-256": bytes(32)})

    async def write() -> None:
        seen = 0
        async for _ in source:
            seen += 1
            if seen == batches:
                raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the very one
        await write()
    source.close()
    assert memory.held == 0


async def test_memory_is_given_back_when_the_request_is_cancelled(memory: IntakeMemory) -> None:
    waits = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        yield bytes(1000)
        waits.set()
        await asyncio.Event().wait()

    source = Intake(Pieces(body()), memory, limit=2 * MIB)
    request = asyncio.create_task(taken(source))
    await waits.wait()
    assert memory.held == MIB + 1000
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    source.close()
    assert memory.held == 0


async def test_closing_twice_gives_nothing_back_twice(body_of: BodyOf, memory: IntakeMemory) -> None:
    memory.held = 5
    source = Intake(Pieces(body_of([b"x" * 10])), memory, limit=10)
    await taken(source)
    source.close()
    source.close()
    assert memory.held == 5
