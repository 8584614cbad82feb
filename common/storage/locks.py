"""Locks between writers and sealers, of one process or many. A dead process holds none. All calls return at once.

- `flock` on the data file: writers share it, a sealer has it alone, for moments (`sealmark`). Every file system we run
  on must have it.
- Range locks on the `locks` file: one writer for each byte range. They are locks of the open file description
  (`F_OFD_SETLK`, Linux), so each write, also in the same process, is an owner of its own. Where a file system has none,
  a table in the process takes their place: writers of one segment in *different* processes are then not kept apart.
  Two receipts that differ are the result at worst, and seal counts that segment as damaged.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid
_SET_LOCK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_HELD = frozenset({errno.EAGAIN, errno.EACCES})
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})

_Taken = tuple[int, int, int, int]
"""Device, inode, first byte, byte after the last."""


def share(descriptor: int) -> bool:
    """Take the shared lock of a writer; False while a sealer has the file."""
    return _flock(descriptor, fcntl.LOCK_SH)


def take_alone(descriptor: int) -> bool:
    """Take the exclusive lock of a sealer; False while anybody writes. On NFS the file must be open for writing."""
    return _flock(descriptor, fcntl.LOCK_EX)


def let_go(descriptor: int) -> None:
    """Give up the lock of a writer or sealer before the descriptor is closed."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class RangeLock:
    """The right to write a byte range. `release` is for the fall-back; closing the descriptor does the rest."""

    def __init__(self, owner: RangeLocks | None, taken: _Taken) -> None:
        self._owner = owner
        self._taken = taken

    def release(self) -> None:
        if self._owner is not None:
            self._owner.forget(self._taken)


class RangeLocks:
    """Range locks of one storage object. `system` is the command number of the kernel's locks, None: there are none."""

    def __init__(self, system: int | None = _SET_LOCK) -> None:
        self._system = system
        self._mutex = threading.Lock()
        self._taken: set[_Taken] = set()

    def take(self, descriptor: int, start: int, length: int) -> RangeLock | None:
        """Lock `length` bytes from `start` of an open file, or None where another writer holds one of them."""
        length = max(1, length)  # 0 would mean "to the end of everything"
        file = os.fstat(descriptor)
        wanted = (file.st_dev, file.st_ino, start, start + length)
        if self._system is None:
            return self._take_here(wanted)
        try:
            fcntl.fcntl(descriptor, self._system, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
        except OSError as error:
            if error.errno in _HELD:
                return None
            if error.errno in _UNSUPPORTED:
                return self._take_here(wanted)
            raise
        return RangeLock(None, wanted)

    def _take_here(self, wanted: _Taken) -> RangeLock | None:
        device, inode, start, end = wanted
        with self._mutex:
            for other in self._taken:
                if other[:2] == (device, inode) and start < other[3] and other[2] < end:
                    return None
            self._taken.add(wanted)
        return RangeLock(self, wanted)

    def forget(self, taken: _Taken) -> None:
        with self._mutex:
            self._taken.discard(taken)
