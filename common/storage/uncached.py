"""Reading much without a trace in the page cache. All calls block."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

RWF_DONTCACHE = 0x80  # preadv2(2), Linux 6.14 and newer; Python 3.11 has no name for it
_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})  # to the kernel, to the file system


class UncachedReads:
    """Reads of one file. What is in the page cache stays there; what is not is not left there either.

    So who verifies 100 GiB evicts nothing that others use. It is quicker as well: new pages are those that were given
    up a moment ago, and a virtual machine touches no memory for the first time. Where the kernel or the file system
    cannot do it, these are ordinary reads.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._flags = RWF_DONTCACHE

    def into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """As `os.preadv`."""
        try:
            return os.preadv(self._descriptor, buffers, offset, self._flags)
        except OSError as error:
            if not self._flags or error.errno not in _UNKNOWN:
                raise
        self._flags = 0
        return os.preadv(self._descriptor, buffers, offset, self._flags)
