"""A body that streams to the store: its end waits until the source has ended well."""

import asyncio
import io

import pytest

from common.errors import BodyIncomplete, FileTooLarge
from common.storage.s3.body import LEAST, HeldBody, StreamBody, gathered
from tests.contract.storage_parts import Body, Cut, random_bytes

CONTENT = random_bytes(5 * LEAST + 100)


async def nobody_asks() -> None:
    """Nothing has to happen before the last bytes."""


async def all_of(body: StreamBody) -> bytes:
    return b"".join([piece async for piece in body])


async def test_all_bytes_pass_in_order() -> None:
    body = StreamBody(Body(CONTENT), len(CONTENT), nobody_asks)
    assert await all_of(body) == CONTENT
    assert await body.read() == b""


async def test_only_the_last_piece_is_small() -> None:
    body = StreamBody(Body(CONTENT, batch=1000), len(CONTENT), nobody_asks)
    pieces = [piece async for piece in body]
    assert all(len(piece) >= LEAST for piece in pieces[:-1])


async def test_the_last_bytes_wait_for_the_end_of_the_source() -> None:
    source = Body(CONTENT, batch=LEAST, hold_at=len(CONTENT))
    body = StreamBody(source, len(CONTENT), nobody_asks)
    sent: list[bytes] = []

    async def send() -> None:
        while piece := await body.read():
            sent.append(piece)

    sending = asyncio.create_task(send())
    await source.held.wait()
    assert b"".join(sent) == CONTENT[: 5 * LEAST]  # all but the last batch: the source has not vouched for it
    source.go_on.set()
    await sending
    assert b"".join(sent) == CONTENT


@pytest.mark.parametrize("cut_after", [3 * LEAST, len(CONTENT)])
async def test_a_source_that_fails_keeps_the_last_bytes(cut_after: int) -> None:
    body = StreamBody(Body(CONTENT, batch=LEAST, cut_after=cut_after), len(CONTENT), nobody_asks)
    sent: list[bytes] = []

    async def send() -> None:
        while piece := await body.read():
            sent.append(piece)

    with pytest.raises(Cut):
        await send()
    assert isinstance(body.error, Cut)
    assert len(b"".join(sent)) < len(CONTENT)


async def test_who_does_not_agree_keeps_the_last_bytes() -> None:
    async def refuse() -> None:
        raise ValueError("no")

    body = StreamBody(Body(CONTENT), len(CONTENT), refuse)
    with pytest.raises(ValueError, match="no"):
        await all_of(body)
    assert isinstance(body.error, ValueError)


async def test_a_short_body_never_ends_well() -> None:
    with pytest.raises(BodyIncomplete):
        await all_of(StreamBody(Body(CONTENT[:-1]), len(CONTENT), nobody_asks))


async def test_a_body_is_sent_again_only_where_nothing_was_taken() -> None:
    body = StreamBody(Body(CONTENT), len(CONTENT), nobody_asks)
    assert body.seek(0) == 0
    await body.read()
    with pytest.raises(io.UnsupportedOperation):
        body.seek(0)


async def test_letting_go_ends_a_read_that_waits_for_the_client() -> None:
    source = Body(CONTENT, hold_at=0)
    body = StreamBody(source, len(CONTENT), nobody_asks)
    reading = asyncio.create_task(body.read())
    await source.held.wait()
    await body.aclose()
    assert reading.cancelled()


async def test_what_is_gathered_is_bounded() -> None:
    assert await gathered(Body(CONTENT), len(CONTENT)) == CONTENT
    with pytest.raises(FileTooLarge):
        await gathered(Body(CONTENT), len(CONTENT) - 1)


async def test_more_is_taken_only_after_it_was_asked_for() -> None:
    asked: list[int] = []

    async def ask(held: int) -> None:
        asked.append(held)
        await asyncio.sleep(0)

    await gathered(Body(CONTENT, batch=LEAST), len(CONTENT), ask)
    assert asked == [LEAST, 2 * LEAST, 3 * LEAST, 4 * LEAST, 5 * LEAST, len(CONTENT)]


# --- bytes that are held ------------------------------------------------------------------------------------


async def sent(body: HeldBody) -> list[bytes]:
    return [piece async for piece in body]


async def test_held_bytes_are_sent_in_the_pieces_in_which_they_came_and_not_copied() -> None:
    pieces = [random_bytes(LEAST, seed) for seed in range(3)]
    assert [id(piece) for piece in await sent(HeldBody(pieces))] == [id(piece) for piece in pieces]


async def test_small_pieces_go_together() -> None:
    body = HeldBody([CONTENT[start : start + 100] for start in range(0, len(CONTENT), 100)])
    pieces = await sent(body)
    assert b"".join(pieces) == CONTENT
    assert len(body) == len(CONTENT)
    assert all(LEAST <= len(piece) < LEAST + 100 for piece in pieces[:-1])


async def test_held_bytes_may_be_sent_again() -> None:
    body = HeldBody([CONTENT])
    assert await sent(body) == [CONTENT]
    assert body.seek(0) == 0
    assert await sent(body) == [CONTENT]
    with pytest.raises(io.UnsupportedOperation):
        body.seek(1)
