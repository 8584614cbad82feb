"""What a failed connection means, in words a person knows."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator


def reason_of(error: BaseException) -> str:
    """Why no answer came: what the system said (`connection refused`) where it said something, else what the HTTP
    library said. That library calls every failed connection the same; the reason is down its chain of causes."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            break  # its number is one of OpenSSL's, not of the system's
        if isinstance(cause, socket.gaierror):
            return (cause.strerror or "the host is not known").lower()
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from; of several addresses that failed, the first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        elif isinstance(cause, OSError):
            cause = cause.__cause__  # what happened to be handled when it was raised is not its cause
        else:
            cause = cause.__cause__ or cause.__context__  # httpcore hides the cause from tracebacks
