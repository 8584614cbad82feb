"""The one listening socket of an embedded stack, opened before any part is started.

Every gateway process inherits it, so the kernel hands each connection to one that is alive: a killed
process loses its own connections and no others, and a connection made while none is alive waits instead of
being refused.
"""

import errno
import socket

BACKLOG = 2048  # connections the kernel holds until a gateway accepts; uvicorn's own default


class CannotListenError(Exception):
    """The address cannot be listened on; the message is one line for the operator."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening, inheritable socket; port 0 takes any free one. Raises CannotListenError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListenError(f"cannot listen on {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.set_inheritable(True)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotListenError(
                f"port {port} on {host} is already taken; choose another with --port "
                f'(make up ARGS="--port 9000"), or 0 for any free one'
            ) from error
        raise CannotListenError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    return listener


def base_url(listener: socket.socket) -> str:
    """Return the URL to reach `listener` from this machine; a wildcard address becomes the loopback one."""
    host, port = listener.getsockname()[:2]
    if listener.family == socket.AF_INET6:
        return f"http://[{'::1' if host == '::' else host}]:{port}"
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104  compared, not bound
