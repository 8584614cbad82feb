"""What the operating system says, in our errors."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, TypeVar

from common.errors import InsufficientStorage, StorageUnavailable

Result = TypeVar("Result")

# EFBIG: the file system or a limit of the process takes no file this large
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def translated(function: Callable[..., Result], *args: Any) -> Result:
    """Call `function`; its OSErrors become ours, except FileNotFoundError, which has a meaning for each verb."""
    try:
        return function(*args)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise as_ours(error) from error


def as_ours(error: OSError) -> InsufficientStorage | StorageUnavailable:
    """The error for the caller. It names the error number, never a path."""
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    if error.errno in FULL:
        return InsufficientStorage(
            f"The storage has no room for these bytes ({name}). Free some space or raise the quota, then send again."
        )
    return StorageUnavailable(f"The storage failed ({name}). Send the same request again later.")
