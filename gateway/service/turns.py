"""One request at a time on a stream, handed over: whoever comes asks the one before to let go, and gets the turn.

The newcomer is nearly always the same client back again, whose old connection is dead and nobody has noticed. So the
one before does not wait for its timeout: it ends its body, keeps what has arrived, and gives the turn back. Within one
gateway by a table, between gateways by a lease (`common.appending`). A holder that does not answer is overtaken: the
storage keeps it from doing harm.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.appending import LEASE_SECONDS, AppendLeases
from common.errors import AppendInterrupted, ChunkBusy, SluiceError, UploadNotFound
from common.ids import is_id
from common.signals import Signals
from common.tasks import cancelled
from common.telemetry import get_logger
from gateway.intake import Pieces
from gateway.service.caller import Caller

log = get_logger(__name__)

SILENCE = 1.0  # seconds that a holder in another process may take; ten times what one under load needs
PATIENCE = 10.0  # seconds for a holder in this process, whose disk may be slow
PAUSE = 0.02  # seconds between looks at another gateway's lease
ASK_AGAIN = 0.2  # seconds; a message may be lost
STOP_SECONDS = 2.0


class Turn:
    """The right to append to one stream. `token` names it in Redis."""

    def __init__(self, pieces: Pieces | None) -> None:
        self.token = secrets.token_hex(16)
        self.over = asyncio.Event()
        self.leased = False
        self._pieces = pieces

    def let_go(self, why: SluiceError) -> None:
        """End the body that is being read, if any; what has arrived of it is kept."""
        if self._pieces is not None:
            self._pieces.end_with(why)


class Turns:
    """All turns of this process."""

    def __init__(self, leases: AppendLeases) -> None:
        self._leases = leases
        self._held: dict[str, Turn] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, signals: Signals) -> None:
        """Keep the leases, and hear other gateways by `signals`."""
        signals.also(self._leases.channel, self._heard)
        self._tasks = [asyncio.create_task(self._keep_leases(), name="append-leases")]

    async def stop(self) -> None:
        await cancelled(self._tasks, STOP_SECONDS)

    def interrupt_all(self, why: SluiceError) -> None:
        """For a process that has to go: every append ends with what it has."""
        for turn in self._held.values():
            turn.let_go(why)

    @asynccontextmanager
    async def take(self, caller: Caller, upload_id: str, pieces: Pieces | None = None) -> AsyncIterator[Turn]:
        """Have the turn on a stream of the caller's for this block; `pieces` is the body that ends when somebody else
        asks for it. Nobody can disturb another tenant, and no text of a client becomes a key.

        Raises UploadNotFound for what cannot be an id, ChunkBusy where a holder in this process does not end.
        """
        if not is_id(upload_id):
            raise UploadNotFound("There is no upload with this id; it may have been removed after it ended.")
        stream, turn = f"{caller.tenant}:{upload_id}", Turn(pieces)
        await self._in_this_process(stream, turn)
        try:
            await self._among_gateways(stream, turn)
            yield turn
        finally:
            try:
                if turn.leased:
                    await self._leases.release(stream, turn.token)
            finally:
                del self._held[stream]
                turn.over.set()

    async def _in_this_process(self, stream: str, turn: Turn) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while (before := self._held.get(stream)) is not None:
                    self._tell(before)
                    await before.over.wait()
        except TimeoutError:
            raise ChunkBusy("Another request to this upload does not come to its end; send it again later.") from None
        self._held[stream] = turn

    async def _among_gateways(self, stream: str, turn: Turn) -> None:
        """With Redis away nobody is asked; the storage takes one of two."""
        known: str | None = None
        since = asked = float("-inf")
        while (holder := await self._leases.take(stream, turn.token)) != turn.token:
            if holder is None:
                return
            now = time.monotonic()
            if holder != known:
                known, since, asked = holder, now, float("-inf")
            if now - since > SILENCE and await self._leases.take_over(stream, turn.token, holder):
                log.info("append.taken_over", stream=stream)
                break
            if now - asked > ASK_AGAIN:
                asked = now
                await self._leases.ask(holder)
            await asyncio.sleep(PAUSE)  # a release is told to nobody
        turn.leased = True

    def _heard(self, token: str) -> None:
        for turn in self._held.values():
            if turn.token == token:
                self._tell(turn)
                return

    def _tell(self, turn: Turn) -> None:
        turn.let_go(AppendInterrupted("Another request to this upload took over; what arrived is kept.", retry_after=1))

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            held = {stream: turn for stream, turn in self._held.items() if turn.leased}
            for stream in await self._leases.renew({stream: turn.token for stream, turn in held.items()}):
                self._tell(held[stream])
