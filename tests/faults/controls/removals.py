"""What the negative controls take out, in a child process only: no switch of the product can do this."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import and_, or_

from common.db import jobs
from common.db.models import Job
from common.storage import local, writing
from common.storage.base import Receipt, Segment, Source


def take_out(name: str | None) -> None:
    """Break this process in the named way; None leaves it whole."""
    if name is not None:
        REMOVALS[name]()


def data_sync() -> None:
    """The bytes of a chunk are not made durable; its receipt is."""

    def commit(self: writing.Writing, receipt: Receipt) -> None:
        with self._busy:
            self._check_in_place()
            self._ledger.append(receipt, durable=self._durable)

    writing.Writing.commit = commit  # type: ignore[method-assign]


def folder_sync() -> None:
    """No name is made durable anywhere."""
    for name, module in list(sys.modules.items()):
        if name.startswith("common.storage") and "sync_folder" in vars(module):
            vars(module)["sync_folder"] = _nothing


def receipt_after_data() -> None:
    """The receipt is written before the bytes that it is for."""

    async def write(self: local.LocalStorage, upload: Any, segment: Segment, source: Source) -> Receipt:
        paths = self._layout.upload(upload)
        at_hand = writing.Writing(
            paths,
            segment,
            ledger=self._ledger(paths),
            ranges=self._ranges,
            require_space=lambda: None,
            require_room=lambda _: None,
            durable=True,
        )
        try:
            await self._enter(at_hand)
            batches = [list(batch) async for batch in source]
            receipt = Receipt(segment.offset, source.length, source.crc64)
            await self._threads.run(at_hand.commit, receipt)
            offset = segment.offset
            for batch in batches:
                offset += await self._threads.run(at_hand.write, batch, offset)
            return receipt
        finally:
            await self._threads.run(at_hand.close)

    local.LocalStorage.write = write  # type: ignore[method-assign]


def fence() -> None:
    """Who holds the lease is not compared when a job is ended."""
    jobs._held = lambda lease: and_(Job.id == lease.job_id)
    jobs._SUCCEED = jobs._succeeding(or_(Job.id.is_not(None), jobs._LEASES))


def shorten_write(number: int) -> None:
    """Of all positioned writes of this process the `number`-th (from 1; 0: none) takes only half of its bytes."""
    if number == 0:
        return
    whole, made = os.pwritev, iter(range(1, 1_000_000))

    def pwritev(descriptor: int, buffers: Any, offset: int, flags: int = 0, /) -> int:
        if next(made) == number:
            joined = b"".join(buffers)
            return whole(descriptor, [joined[: len(joined) // 2]], offset, flags)
        return whole(descriptor, buffers, offset, flags)

    os.pwritev = pwritev


def _nothing(folder: Path) -> None:
    """In place of a sync."""


REMOVALS: dict[str, Callable[[], None]] = {
    "data_sync": data_sync,
    "folder_sync": folder_sync,
    "fence": fence,
    "receipt_after_data": receipt_after_data,
}
