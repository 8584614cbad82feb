"""What all verbs on one bucket share: the client, the keys, what the store can do, and small objects made once."""

from __future__ import annotations

import asyncio
import time

from common.errors import StorageUnavailable
from common.settings import StorageSettings
from common.storage.s3.client import PRECONDITION, Client, Refusal
from common.storage.s3.keys import Keys
from common.storage.s3.probe import Capabilities, probe, scratch_name

IDENTITY_LIVES = 60.0  # seconds for which the mark is believed to stand; a bucket is not unmounted by accident


class Store:
    """One bucket and prefix as this process sees it."""

    def __init__(self, client: Client, keys: Keys, settings: StorageSettings) -> None:
        self.client = client
        self.keys = keys
        self.settings = settings
        self._capabilities: Capabilities | None = None
        self._mutex = asyncio.Lock()
        self._expected: str | None = None
        self._seen_at = float("-inf")

    async def capabilities(self) -> Capabilities:
        """Probed by the first call of a process. Raises StorageUnavailable."""
        if self._capabilities is None:
            async with self._mutex:
                if self._capabilities is None:
                    self._capabilities = await probe(self.client, self.keys.scratch(scratch_name()))
        return self._capabilities

    async def put_once(self, key: str, content: bytes) -> bool:
        """Make a small object unless there is one; False where there is.

        Without conditional writes two at the same moment may both be told that they were first.
        """
        can = await self.capabilities()
        if not can.conditional_put:
            try:
                await self.client.call("head_object", Key=key)
                return False
            except FileNotFoundError:
                await self.client.call("put_object", Key=key, Body=content)
                return True
        try:
            await self.client.call("put_object", Key=key, Body=content, IfNoneMatch="*", handled=PRECONDITION)
        except Refusal:
            return False
        return True

    async def mark(self) -> str | None:
        """The id of this storage; None before its first start."""
        try:
            content, _ = await self.client.get(self.keys.mark)
        except FileNotFoundError:
            return None
        return content.decode("ascii", "replace").strip()

    async def put_mark(self, storage_id: str) -> str:
        """Put up the mark where there is none; the id that stands in the end, which may be another process's."""
        await self.put_once(self.keys.mark, storage_id.encode("ascii"))
        standing = await self.mark()
        assert standing is not None
        return standing

    def expect(self, storage_id: str) -> None:
        self._expected, self._seen_at = storage_id, float("-inf")

    async def check(self) -> None:
        """Raise StorageUnavailable unless the expected storage is here. No request while the last look is young."""
        if self._expected is None or time.monotonic() - self._seen_at < IDENTITY_LIVES:
            return
        if await self.mark() != self._expected:
            raise StorageUnavailable("This is not the storage that the database knows: check SLUICE_STORAGE_URL.")
        self._seen_at = time.monotonic()
