"""Reading much without a trace in the page cache. All calls block."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

RWF_DONTCACHE = 0x80  # preadv2(2), Linux 6.14 and newer; Python 3.11 has no name for it
_UNKNOWN = frozenset(
    {
        errno.EINVAL,  # to the kernel
        errno.EOPNOTSUPP,  # to the file system
        errno.ENOSYS,  # the call itself: an old kernel, a sandbox
        errno.EPERM,  # to a container's list of allowed calls
    }
)


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
        except RuntimeError:  # of a Python that was built against a C library without it: flags are not implemented
            if not self._flags:
                raise
        except OSError as error:
            if not self._flags or error.errno not in _UNKNOWN:
                raise
        self._flags = 0
        return os.preadv(self._descriptor, buffers, offset, self._flags)
