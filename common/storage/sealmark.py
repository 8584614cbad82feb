"""The mark of a seal: it keeps writers away while nobody holds the data file. All calls block.

A sealer that held the lock while it reads back for minutes would keep the next one out when its process is stopped.
So the lock is held for moments only: to make the mark when all writers have gone, and to publish or to give up. In
between the mark `sealing` says "no chunks any more". Several sealers may read behind one mark at once: the bytes
stand still. It goes with the upload, or when damage makes it an upload again.
"""

from __future__ import annotations

import os

from common.storage.durable import is_at, sync_folder
from common.storage.journal import FILE_MODE
from common.storage.layout import UploadPaths


class SealMark:
    """The mark as one sealer sees it. Everything but `close` needs the data file held alone."""

    def __init__(self, paths: UploadPaths) -> None:
        self._paths = paths
        self._descriptor: int | None = None

    def put_up(self) -> None:
        """No writer comes in from now on. One that stands already serves as well."""
        self._descriptor = os.open(self._paths.sealing, os.O_RDWR | os.O_CREAT, FILE_MODE)

    def stands(self) -> bool:
        """Whether no writer came in since `put_up`: the mark is still the same file."""
        return self._descriptor is not None and is_at(self._descriptor, self._paths.sealing)

    def take_down(self, *, durable: bool) -> None:
        """Writers may come again. The receipts that do not count have been put away before."""
        self._paths.sealing.unlink(missing_ok=True)
        if durable:
            sync_folder(self._paths.folder)  # a mark that came back would refuse the missing chunks for ever

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
