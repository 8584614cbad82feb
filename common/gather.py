"""Many callers, one call: while one batch is on its way, the next one gathers.

There is no timer. A caller that comes alone is served at once; callers that come faster than the work can be done share
it, and the more they are the cheaper each becomes. Used where the cost is in the call and not in the item: a
transaction, a round trip, a hop to a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Work = Callable[[Sequence[Item]], Awaitable[Sequence["Answer | Exception"]]]
"""Does all items at once; an answer for each in the same order, or the exception that its caller gets."""


class Gather(Generic[Item, Answer]):
    """One at a time of calls to `work`, each with at most `most` items.

    Where `work` raises for several items, each is tried again alone, so that one bad item costs no other its answer.
    An error of a class in `shared` is nobody's fault: all of the batch get it, and all who wait, because they would
    only learn the same one after the other.
    """

    def __init__(self, work: Work[Item, Answer], most: int, shared: tuple[type[Exception], ...] = ()) -> None:
        self._work = work
        self._most = most
        self._shared = shared
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """The answer for one item. A caller that is cancelled while its batch is on the way does not stop it."""
        answer = self._append(item)
        self._start()
        return await answer

    async def ask_all(self, items: Sequence[Item]) -> list[Answer | Exception]:
        """The answer for each of many items, or what was raised for it."""
        answers = [self._append(item) for item in items]
        self._start()
        if answers:
            await asyncio.wait(answers)
        found: list[Answer | Exception] = []
        for answer in answers:
            error = answer.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            found.append(answer.result() if error is None else error)
        return found

    def _append(self, item: Item) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        return answer

    def _start(self) -> None:
        if self._task is None:
            # a context of its own: what is logged in a batch belongs to no single caller
            self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    async def _run(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        try:
            while batch := self._next():
                await self._serve(batch)
        except BaseException as error:  # the process ends: nobody shall wait for an answer that never comes
            for _, answer in (*batch, *self._waiting):
                _tell(answer, error)
            raise
        finally:
            self._task = None

    def _next(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._most:
            entry = self._waiting.popleft()
            if not entry[1].done():  # its caller has gone
                batch.append(entry)
        return batch

    async def _serve(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._work([item for item, _ in batch])
        except self._shared as error:
            for _, answer in (*batch, *self._waiting):
                _tell(answer, error)
        except Exception as error:  # noqa: BLE001 - every caller gets it
            if len(batch) == 1:
                _tell(batch[0][1], error)
                return
            for entry in batch:
                await self._serve([entry])
        else:
            for (_, waiting), found in zip(batch, answers, strict=True):
                _tell(waiting, found)


def _tell(future: asyncio.Future[Answer], answer: Answer | BaseException) -> None:
    if future.done():
        return
    if isinstance(answer, asyncio.CancelledError):
        future.cancel()
    elif isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
