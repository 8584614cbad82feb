"""A body on its way to the store: pulled by the HTTP client, its last batch held back until the source has ended well.

Pieces go out as they came, without a copy: the source counts what it has handed over until more is asked for.

A store takes a request whose bytes are complete. So what must not count may never be complete: the last bytes go out
only after the source has verified everything, and after `before_last` has agreed.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from common.errors import BodyIncomplete, FileTooLarge
from common.storage.base import Source

LEAST = 16 * 1024  # bytes handed out at once, the end apart: aws-chunked wants at least 8 KiB in each of its chunks
MOST = 1024 * 1024
HASH_INLINE = 16 * 1024  # bytes; hashing less than this costs less than the hop to a thread


class StreamBody:
    """What aiobotocore sends for a part of `length` bytes; `error` is what ended it early.

    `before_last` is awaited once everything has arrived and been verified; raising there ends the request.
    """

    def __init__(
        self, source: Source, length: int, before_last: Callable[[], Awaitable[None]], *, md5: bool = False
    ) -> None:
        self.error: Exception | None = None
        self.started = False
        self._source = source
        self._length = length
        self._before_last = before_last
        self._batches: AsyncIterator[Sequence[bytes]] | None = None
        self._ready: deque[bytes] = deque()
        self._ready_bytes = 0
        self._held: Sequence[bytes] = ()
        self._taken = 0
        self._ended = False
        self._reading: asyncio.Task[object] | None = None
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    @property
    def ended(self) -> bool:
        """Whether everything has arrived, was verified and agreed to."""
        return self._ended

    def __len__(self) -> int:
        return self._length

    def seek(self, offset: int, whence: int = 0) -> int:
        """Only where nothing was taken yet: then the request may be tried again."""
        if self.started or offset != 0 or whence != 0:
            raise io.UnsupportedOperation("a body that streams cannot be sent again")
        return 0

    async def read(self, size: int = -1) -> bytes:
        """The next bytes, at least LEAST of them before the end; empty at the end."""
        self.started = True
        self._reading = asyncio.current_task()
        try:
            while self._ready_bytes < LEAST and not self._ended:
                await self._pull()
        except Exception as error:  # not a cancellation: the HTTP client ends its task where the connection broke
            self.error = self.error or error
            raise
        finally:
            self._reading = None
        piece = self._next(size if size > 0 else MOST)
        if self._md5 is not None and len(piece) > HASH_INLINE:
            await asyncio.to_thread(self._md5.update, piece)
        elif self._md5 is not None:
            self._md5.update(piece)
        return piece

    def __aiter__(self) -> StreamBody:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    @property
    def md5(self) -> str | None:
        """Of what was handed out, in hex; None where nobody asked for it."""
        return self._md5.hexdigest() if self._md5 is not None else None

    async def aclose(self) -> None:
        """Let go of the source, also where the HTTP client still waits for it in a task of its own."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        close = getattr(self._batches, "aclose", None)
        if close is not None:
            await close()

    def _next(self, most: int) -> bytes:
        """At least LEAST of the bytes that are ready, as far as there are so many, and at most `most`."""
        taken: list[bytes] = []
        size = 0
        while self._ready and size < min(LEAST, most):
            piece = self._ready.popleft()
            if size + len(piece) > most:
                self._ready.appendleft(piece[most - size :])
                piece = piece[: most - size]
            taken.append(piece)
            size += len(piece)
        self._ready_bytes -= size
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _pull(self) -> None:
        """One batch more. The one that completes the body waits until the source has ended."""
        if self._batches is None:
            self._batches = aiter(self._source)
        batch = await anext(self._batches, None)
        if batch is None:
            if self._source.length != self._length:
                raise BodyIncomplete(f"The body ended after {self._source.length} of {self._length} bytes.")
            await self._before_last()
            self._ended = True
            batch, self._held = self._held, ()
        else:
            self._taken += sum(map(len, batch))
            if self._taken >= self._length:
                self._held = [*self._held, *batch]
                return
        self._ready.extend(batch)
        self._ready_bytes += sum(map(len, batch))


class HeldBody:
    """Bytes that are here, in the pieces in which they came. aiobotocore sends them without joining them, a few at a
    time as the connection takes them, and again where the store asks for it."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._length = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._length

    def seek(self, offset: int, whence: int = 0) -> int:
        """Every iteration begins at the beginning; there is nowhere else to go."""
        if offset != 0 or whence != 0:
            raise io.UnsupportedOperation("a body is sent from its beginning")
        return 0

    async def read(self) -> bytes:
        """All of it: botocore takes as a body what can be read, and then iterates."""
        return b"".join(self._pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        together: list[bytes] = []
        size = 0
        for piece in self._pieces:
            together.append(piece)
            size += len(piece)
            if size >= LEAST:
                yield together[0] if len(together) == 1 else b"".join(together)
                together, size = [], 0
        if together:
            yield b"".join(together)


async def gathered(source: Source, most: int, ask: Callable[[int], Awaitable[None]] | None = None) -> bytes:
    """The whole body, in memory. `ask` is awaited with the bytes so far before more are taken.

    Raises FileTooLarge above `most` bytes, and whatever the source raises.
    """
    batches: list[bytes] = []
    async for batch in source:
        batches.extend(batch)
        if ask is not None:
            await ask(source.length)
        if source.length > most:
            raise FileTooLarge(f"A body without a length may bring at most {most} bytes at once.", limit=most)
    return b"".join(batches)
