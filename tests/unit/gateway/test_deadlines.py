"""Body deadlines: only waiting for the client counts, and nothing counts after the end."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from common.errors import BodyTimeout, BodyTooLarge
from common.settings import HttpSettings
from gateway.deadlines import BodyDeadline


class Client:
    """Sends pieces, each after a pause in seconds; then it is silent."""

    def __init__(self, pieces: Iterable[tuple[float, bytes]], *, ends: bool = True) -> None:
        self._pieces = list(pieces)
        self._ends = ends

    async def __call__(self) -> dict[str, Any]:
        if not self._pieces:
            await asyncio.Event().wait()
        pause, data = self._pieces.pop(0)
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": data, "more_body": bool(self._pieces) or not self._ends}


def deadline(client: Any, limit: int | None = None, **settings: Any) -> BodyDeadline:
    """With time for clients that only a busy machine keeps waiting."""
    return BodyDeadline(client, HttpSettings.model_validate({"body_idle_timeout": 20, **settings}), limit)


async def read(body: BodyDeadline) -> int:
    while not body.complete:
        await body()
    return body.received


async def test_a_body_that_flows_passes() -> None:
    assert await read(deadline(Client([(0, b"a"), (0.01, b"b"), (0, b"")]))) == 2


async def test_a_body_that_stalls_is_ended() -> None:
    with pytest.raises(BodyTimeout, match="send it again"):
        await read(deadline(Client([(0, b"a")], ends=False), body_idle_timeout=0.05))


async def test_after_the_body_the_client_may_be_silent_for_ever() -> None:
    body = deadline(Client([(0, b"")]), body_idle_timeout=0.05)
    await read(body)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await body()


@pytest.mark.parametrize(("rate", "ends"), [(1000, True), (1, False)])
async def test_the_rate_is_measured_over_the_window(monkeypatch: pytest.MonkeyPatch, rate: int, ends: bool) -> None:
    monkeypatch.setattr("gateway.deadlines.RATE_WINDOW", 0.03)
    body = deadline(Client([(0.01, b"xx")] * 12), body_min_rate=rate)  # at most 200 bytes a second
    if ends:
        with pytest.raises(BodyTimeout, match="slower"):
            await read(body)
    else:
        assert await read(body) == 24


async def test_time_that_we_take_is_not_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.deadlines.RATE_WINDOW", 0.02)
    body = deadline(Client([(0, b"x")] * 5), body_min_rate=1_000_000)
    while not body.complete:
        await body()
        await asyncio.sleep(0.03)  # a slow disk
    assert body.received == 5


async def test_a_limit_is_a_limit() -> None:
    assert await read(deadline(Client([(0, b"12345")]), limit=5)) == 5
    with pytest.raises(BodyTooLarge) as refused:
        await read(deadline(Client([(0, b"12345"), (0, b"6")]), limit=5))
    assert refused.value.extras == {"limit": 5}


async def test_a_disconnect_is_passed_on() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    body = deadline(gone)
    assert (await body())["type"] == "http.disconnect"
    assert body.disconnected
    await body.drain(10, 1)  # has nothing to wait for


async def test_draining_is_bounded_in_bytes_and_in_time() -> None:
    endless = deadline(Client([(0, b"x" * 100)] * 1000))
    await endless.drain(most=250, seconds=5)
    silent = deadline(Client([(0, b"x")], ends=False))
    await asyncio.wait_for(silent.drain(most=250, seconds=0.05), 2)
    assert not endless.complete
    assert not silent.complete
