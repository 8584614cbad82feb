"""Bodies that are ended early: by whoever needs the turn, by a broken connection, by the clock."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.errors import AppendInterrupted, BodyIncomplete
from common.settings import HttpSettings
from gateway.intake import Intake, IntakeMemory, Pieces

WHY = AppendInterrupted("somebody else came")


async def stalling(*pieces: bytes, sent: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if sent is not None:
        sent.set()
    await asyncio.Event().wait()


async def breaking(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    raise BodyIncomplete("the connection ended")


async def whole(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def intake(pieces: Pieces, *, keep: bool = True, limit: int = 100, until: float = float("inf")) -> Intake:
    return Intake(pieces, IntakeMemory(HttpSettings()), limit=limit, keep=keep, until=until)


async def taken(source: Intake) -> bytes:
    return b"".join([piece async for batch in source for piece in batch])


async def test_who_waits_for_a_body_is_woken_when_it_is_ended() -> None:
    pieces = Pieces(stalling())
    waiting = asyncio.create_task(pieces.take(10))
    await asyncio.sleep(0)
    pieces.end_with(WHY)
    with pytest.raises(AppendInterrupted):
        await waiting


async def test_nothing_is_taken_from_a_body_that_was_ended() -> None:
    pieces = Pieces(whole(b"abc"))
    pieces.end_with(WHY)
    pieces.end_with(AppendInterrupted("later"))
    for _ in range(2):
        with pytest.raises(AppendInterrupted, match="somebody else came"):
            await pieces.take(10)


async def test_a_body_that_was_ended_gives_what_had_arrived() -> None:
    sent = asyncio.Event()
    pieces = Pieces(stalling(b"abc", b"def", sent=sent))
    source = intake(pieces)
    taking = asyncio.create_task(taken(source))
    await sent.wait()
    pieces.end_with(WHY)
    assert await taking == b"abcdef"
    assert source.broken is WHY


async def test_what_came_before_a_break_is_kept() -> None:
    source = intake(Pieces(breaking(b"abc")))
    assert await taken(source) == b"abc"
    assert isinstance(source.broken, BodyIncomplete)


async def test_without_keep_a_break_is_the_end_of_it() -> None:
    with pytest.raises(BodyIncomplete):
        await taken(intake(Pieces(breaking(b"abc")), keep=False))


async def test_a_whole_body_is_not_broken() -> None:
    source = intake(Pieces(whole(b"abc")))
    assert await taken(source) == b"abc"
    assert source.broken is None


async def test_behind_its_time_an_intake_takes_no_more() -> None:
    pieces = Pieces(whole(b"abc", b"def"))
    assert await taken(intake(pieces, until=0.0)) == b""
    assert await pieces.take(10) == b"abc"


async def test_a_cancelled_reader_is_cancelled_all_the_same() -> None:
    waiting = asyncio.create_task(Pieces(stalling()).take(10))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
