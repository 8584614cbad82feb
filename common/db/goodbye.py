"""The end of a connection to PostgreSQL. Imported with its driver, only where PostgreSQL is used."""

from __future__ import annotations

import asyncpg  # type: ignore[import-untyped]

GOODBYE = 0.2  # seconds; the request that gives up a connection waits for it


class PromptConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg shows no types
    """Does not wait long for the goodbye of a server that has not answered anything else in time."""

    async def close(self, *, timeout: float | None = None) -> None:
        await super().close(timeout=min(GOODBYE, timeout or GOODBYE))
