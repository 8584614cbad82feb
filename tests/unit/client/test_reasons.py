"""A failed connection in words."""

import errno
import socket
import ssl

import httpx
import pytest

from client import AsyncClient, RetryPolicy, SluiceConnectionError
from client.reasons import reason_of

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")


def caused_by(cause: BaseException | None) -> Exception:
    """The error of the HTTP library over a cause further down."""
    between = OSError("All connection attempts failed")
    between.__cause__ = cause
    error = httpx.ConnectError("All connection attempts failed")
    error.__context__ = between
    return error


async def test_a_server_that_is_down_is_connection_refused(free_port: int) -> None:
    async with AsyncClient(f"http://127.0.0.1:{free_port}", retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(SluiceConnectionError, match=r"after 1 attempt: connection refused$"):
            await client.limits()


def test_of_several_addresses_the_first_is_told() -> None:
    both = ExceptionGroup("multiple connection attempts failed", [REFUSED, OSError(errno.EHOSTUNREACH, "x")])
    assert reason_of(caused_by(both)) == "connection refused"


def test_a_host_that_is_not_known_is_told_as_the_resolver_says_it() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert reason_of(caused_by(error)) == "name or service not known"


def test_an_error_of_tls_keeps_its_own_words() -> None:
    error = httpx.ConnectError("certificate verify failed: self-signed certificate")
    error.__cause__ = ssl.SSLCertVerificationError(1, "certificate verify failed")
    assert reason_of(error) == "certificate verify failed: self-signed certificate"


def test_what_happened_to_be_handled_is_not_the_cause() -> None:
    error = OSError("no number")
    error.__context__ = FileNotFoundError(errno.ENOENT, "x")
    assert reason_of(error) == "no number"


def test_an_error_without_words_is_told_by_its_name() -> None:
    assert reason_of(httpx.ReadTimeout("")) == "ReadTimeout"
