"""Checks that hang, fail or end late, and those who ask about them."""

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from common.errors import StorageUnavailable
from common.probes import Probes
from common.storage.threads import Threads


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.probes.PROBE_SECONDS", 0.05)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


async def well() -> None:
    pass


async def test_what_fails_is_told_by_name_beside_what_does_not_end() -> None:
    async def away() -> None:
        raise StorageUnavailable("away")

    probes = Probes({"redis": asyncio.Event().wait, "database": well, "storage": away})
    failing = await probes.failing()
    assert {name: type(error) for name, error in failing.items()} == {
        "redis": TimeoutError,
        "storage": StorageUnavailable,
    }


async def test_a_check_that_its_thread_holds_is_not_waited_for_and_asked_once(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, asked = Threads(4, "test"), []

    def hang() -> None:
        asked.append(1)
        gate.wait(15)

    probes = Probes({"storage": lambda: threads.run(hang)})
    for _ in range(10):
        assert list(await probes.failing()) == ["storage"]
    assert len(asked) == 1
    gate.set()
    await probes.close(10)
    monkeypatch.setattr("common.probes.PROBE_SECONDS", 10.0)
    assert await probes.failing() == {}
    assert len(asked) == 2
    await threads.close()


async def test_those_who_ask_at_once_share_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.probes.PROBE_SECONDS", 10.0)
    answer, asked = asyncio.Event(), []

    async def slow() -> None:
        asked.append(1)
        await answer.wait()

    probes = Probes({"storage": slow})
    asking = [asyncio.create_task(probes.failing()) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who leaves takes no answer from the others
    await asyncio.sleep(0)
    answer.set()
    assert await asyncio.gather(*asking[1:]) == [{}, {}]
    assert len(asked) == 1


async def test_what_can_be_ended_is_asked_anew() -> None:
    """As a connection that will never answer, while a new one would."""
    asked = []

    async def lost() -> None:
        asked.append(1)
        if len(asked) == 1:
            await asyncio.Event().wait()

    probes = Probes({"redis": lost})
    assert list(await probes.failing()) == ["redis"]
    await asyncio.sleep(0)
    assert await probes.failing() == {}


async def test_what_a_late_check_raises_troubles_nobody() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise StorageUnavailable("too late")

    probes = Probes({"storage": late})
    await probes.failing()
    await asyncio.sleep(0)
    del probes
    gc.collect()
    assert told == []


async def test_what_is_on_its_way_is_ended_at_close() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    probes = Probes({"storage": endless})
    asking = asyncio.create_task(probes.failing())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await probes.close(5)
    assert ended.is_set()
    await asking
