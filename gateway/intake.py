"""Request body -> bounded, counted, checksummed, coalesced buffers. The one place with back-pressure.

A body arrives in pieces of tens of KiB. They are gathered, without copying, to batches of about 1 MiB for one gather
write each; the next piece is asked for only when the storage asks for the next batch, so a slow disk slows the client
down instead of filling memory. All bodies of a process share one budget: reads and batches shrink as half of it fills,
and then nothing is gathered while a batch is being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from math import inf

from awscrt import checksums

from common.digests import CRC_64, Digests, StreamHasher, crc64_bytes, differing
from common.errors import ChunkLength, DigestMismatch, SluiceError
from common.settings import HttpSettings

SMALL_BATCH = 64 * 1024  # bytes; with half of it every byte costs a fifth more processor time
READ_MOST = 256 * 1024  # bytes taken from a socket at a time; more brings no more speed
READ_LEAST = 16 * 1024  # while memory is short
MAX_PIECES = 512  # half of IOV_MAX on Linux: tiny pieces must not grow the list without bound
HASH_INLINE = 16 * 1024  # bytes; hashing less than this costs less than the hop to a thread


class IntakeMemory:
    """Bytes that all bodies of this process hold between the socket and the storage.

    `unread` are those that nobody has asked for yet, or that were asked for last; `held` those that are gathered or
    being written. `promised` have not come yet, but their bodies are held whole: they count for other such bodies only,
    so that who sends nothing slows nobody down.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.held = 0
        self.unread = 0
        self.promised = 0
        self._half = settings.intake_memory // 2
        self._batch = settings.intake_buffer

    @property
    def is_short(self) -> bool:
        """Whether more than half of the budget is taken."""
        return self.held + self.unread >= self._half

    def read_size(self, most: int = READ_MOST) -> int:
        """Bytes that one body may have unread, `most` where there is enough memory."""
        return max(READ_LEAST, min(most, self._share()))

    def batch_size(self) -> int:
        """Bytes to gather before the next write."""
        return max(SMALL_BATCH, min(self._batch, self._share()))

    def _share(self) -> int:
        """What one body may take of what is free: half, so that with ever more bodies all shares become smaller, in
        place of large ones for the first and the least for the rest."""
        return (self._half - self.held - self.unread) // 2

    def has_room_for(self, length: int) -> bool:
        """Whether a body of `length` bytes may be held until it has arrived whole."""
        return length <= SMALL_BATCH or (
            length <= self._batch and self.held + self.unread + self.promised + length <= self._half
        )


class Pieces:
    """A body as an iterator of byte strings from which exact amounts can be taken."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._rest = b""
        self._waiting: asyncio.Timeout | None = None
        self._ending: SluiceError | None = None
        self.started = False

    def end_with(self, error: SluiceError) -> None:
        """No more is taken: whoever waits for the next piece gets `error` at once, and so does everybody after."""
        self._ending = self._ending or error
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def take(self, most: int) -> bytes:
        """The next piece, at most `most` bytes; empty at the end of the body. `most` must be positive."""
        piece = self._rest or await self._arriving()
        self._rest = piece[most:]
        return piece[:most] if self._rest else piece

    async def ended(self) -> bool:
        """Whether nothing follows; waits for the client to say so."""
        self._rest = self._rest or await self._arriving()
        return not self._rest

    async def _arriving(self) -> bytes:
        self.started = True
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await self._next()
        except TimeoutError:
            if self._ending is None:
                raise
            raise self._ending from None
        finally:
            self._waiting = None

    async def _next(self) -> bytes:
        if self._ending is not None:
            raise self._ending
        async for piece in self._body:
            if piece:
                return piece
        return b""


class Intake:
    """One segment of a body on its way to the storage. Implements `common.storage.base.Source`.

    `limit` is the most bytes it takes. With `exact` the body must be just that long: ChunkLength otherwise. Digests
    in `declared` are compared at the end, before the iteration stops: DigestMismatch. `running` is fed as well, for
    digests over more than this segment. With `keep` a body that breaks off ends the iteration as if it was whole, and
    `broken` says why. From `until` on (seconds of the loop's clock) the next piece is the last.
    """

    def __init__(
        self,
        pieces: Pieces,
        memory: IntakeMemory,
        *,
        limit: int,
        exact: bool = False,
        declared: Digests | None = None,
        running: StreamHasher | None = None,
        keep: bool = False,
        until: float = inf,
    ) -> None:
        self.broken: SluiceError | None = None
        self._keep = keep
        self._until = until
        self.length = 0
        self.crc64 = 0
        self.read_ahead = True
        self._pieces = pieces
        self._memory = memory
        self._limit = limit
        self._exact = exact
        self._declared = declared or {}
        own = [name for name in self._declared if name != CRC_64]
        self._hashers = [hasher for hasher in (StreamHasher(own) if own else None, running) if hasher is not None]
        self._own = self._hashers[0] if own else None
        self._batch_bytes = 0
        self._held = 0
        self._promised = 0

    @property
    def limit(self) -> int:
        """The most bytes it takes."""
        return self._limit

    @property
    def started(self) -> bool:
        """Whether a byte was asked for: then the same body cannot be offered to a second write."""
        return self._pieces.started

    def close(self) -> None:
        """Give the memory back; again: nothing. Called by whoever made it, as soon as the storage has let go: an
        iteration that was left in the middle ends only when the garbage collector comes."""
        self._release(self._held)
        self._promise(-self._promised)

    def _promise(self, size: int) -> None:
        self._promised += size
        self._memory.promised += size

    def _release(self, size: int) -> None:
        self._held -= size
        self._memory.held -= size

    async def whole(self) -> list[bytes]:
        """All of a body that there is room for, in place of the iteration: in memory until `close`, and what has not
        come yet counts as promised."""
        self._promise(self._limit)
        batch: list[bytes] = []
        while self.length < self._limit and (piece := await self._pieces.take(self._limit - self.length)):
            self._count(piece)
            self._promise(-len(piece))
            self._release(-len(piece))
            batch.append(piece)
            if len(batch) >= MAX_PIECES:
                batch = [b"".join(batch)]
        self._batch_bytes = self.length
        hashing = await self._hash(batch, None)
        if hashing is not None:
            await asyncio.wait([hashing])
        await self._check()
        return batch

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        under_way: list[int] = []  # sizes of the batch being written and of the one being gathered
        hashing: asyncio.Future[None] | None = None
        try:
            while batch := await self._gather():
                under_way.append(self._batch_bytes)
                hashing = await self._hash(batch, hashing)
                self.read_ahead = not self._memory.is_short
                yield batch
                del batch  # a slow body would hold it until its next one is full
                while len(under_way) > self.read_ahead:
                    self._release(under_way.pop(0))
            if hashing is not None:
                await hashing
            await self._check()
        finally:
            if hashing is not None and not hashing.done():
                await asyncio.wait([hashing])  # a thread still reads the hashers
            self.close()

    async def _gather(self) -> list[bytes]:
        """The next batch; counts, checksums and refuses what is too long."""
        batch: list[bytes] = []
        self._batch_bytes = 0
        # The size is asked for each piece: slow bodies all begin their batches while memory is still free. And pieces
        # are taken as they come: cutting them to size left holes in the heap that were as large as the bodies.
        while self._batch_bytes < self._memory.batch_size() and len(batch) < MAX_PIECES and self._goes_on():
            piece = await self._take()
            if not piece:
                break
            self._count(piece)
            batch.append(piece)
            self._batch_bytes += len(piece)
            self._held += len(piece)
            self._memory.held += len(piece)
        return batch

    def _goes_on(self) -> bool:
        return (
            self.length < self._limit
            and self.broken is None
            and (self._until == inf or asyncio.get_running_loop().time() < self._until)
        )

    async def _take(self) -> bytes:
        try:
            return await self._pieces.take(self._limit - self.length)
        except SluiceError as error:
            if not self._keep:
                raise
            self.broken = error
            return b""

    def _count(self, piece: bytes) -> None:
        self.crc64 = checksums.crc64nvme(piece, self.crc64)
        self.length += len(piece)

    async def _hash(self, batch: list[bytes], before: asyncio.Future[None] | None) -> asyncio.Future[None] | None:
        """Hash in a thread while the same batch is written; batches one after the other."""
        if not self._hashers:
            return None
        if before is not None:
            await before
        if self._batch_bytes <= HASH_INLINE:
            self._update(batch)
            return None
        return asyncio.get_running_loop().run_in_executor(None, self._update, batch)

    def _update(self, batch: list[bytes]) -> None:
        for hasher in self._hashers:
            for piece in batch:
                hasher.update(piece)

    async def _check(self) -> None:
        if self._exact:
            if self.length < self._limit:
                raise ChunkLength(f"The chunk has {self._limit} bytes; the body ended after {self.length}.")
            if not await self._pieces.ended():
                raise ChunkLength(f"The chunk has {self._limit} bytes; the body is longer.")
        computed: Digests = {CRC_64: crc64_bytes(self.crc64)}
        if self._own is not None:
            computed |= self._own.digests()
        compare_digests(self._declared, computed)


def compare_digests(declared: Digests, computed: Digests) -> None:
    """Raises DigestMismatch that names the algorithms."""
    wrong = differing(declared, computed)
    if wrong:
        raise DigestMismatch(
            f"The {' and '.join(wrong)} of the received bytes differ from the declared digest; send them again.",
            algorithms=wrong,
        )
