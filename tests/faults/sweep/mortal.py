"""Processes that die at a chosen step: what they hold open is cut there, and nothing they planned after it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from common.db.database import Database
from common.db.repository import Repository
from common.storage.base import Storage

STEPS = frozenset(
    {"begin", "put", "write", "receipts", "seal", "seal_together", "abort", "read", "delete", "last_activity"}
)


class Crash(BaseException):
    """The process is gone. No `except Exception` of the service may catch it."""


class Life:
    """Counts down to the death of one process; None: it lives on."""

    def __init__(self, steps: int | None) -> None:
        self.dead = False
        self._left = steps

    def step(self) -> None:
        if self._left is not None:
            self._left -= 1
            self.dead = self.dead or self._left < 0
        if self.dead:
            raise Crash


class MortalDatabase:
    """A process may die before a transaction, in it (so that it is rolled back) and after it."""

    def __init__(self, real: Database, life: Life) -> None:
        self._real, self._life = real, life

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Repository]:
        self._life.step()
        async with self._real.transaction() as repository:
            yield repository
            self._life.step()
        self._life.step()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Repository]:
        self._life.step()
        async with self._real.reading() as repository:
            yield repository


class MortalStorage:
    """A process may die before each storage call and after it."""

    def __init__(self, real: Storage, life: Life) -> None:
        self._real, self._life = real, life

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in STEPS:
            return real

        async def call(*arguments: Any) -> Any:
            self._life.step()
            answer = await real(*arguments)
            self._life.step()
            return answer

        return call
