"""The listening socket of an embedded stack."""

import socket

import pytest

from cli.listener import CannotListenError, base_url, listen


def test_port_0_takes_a_free_one_and_the_url_names_it() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert base_url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_it_listens_before_anybody_accepts() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), timeout=5) as waiting:
        assert waiting.getpeername() == listener.getsockname()


def test_child_processes_inherit_it() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.get_inheritable()


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(CannotListenError) as refused:
            listen("127.0.0.1", port)
    assert str(refused.value) == (
        f"port {port} on 127.0.0.1 is already taken; choose another with --port "
        f'(make up ARGS="--port 9000"), or 0 for any free one'
    )


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotListenError, match=r"^cannot listen on port 8000 of 192\.0\.2\.1: "):
        listen("192.0.2.1", 8000)


def test_a_host_that_is_no_address_is_refused() -> None:
    with pytest.raises(CannotListenError, match=r"^cannot listen on not an address: "):
        listen("not an address", 8000)


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")])
def test_a_wildcard_address_is_reached_on_the_loopback(host: str, reached: str) -> None:
    if ":" in host and not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback address")
    with listen(host, 0) as listener:
        assert base_url(listener) == f"http://{reached}:{listener.getsockname()[1]}"


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
