"""The address that a client is given: the public one, what a trusted proxy says, or a path."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from common.settings import HttpSettings
from gateway.locations import Locations

INSIDE = ("10.1.2.3", 40000)
OUTSIDE = ("192.0.2.7", 40000)


def locate(peer: tuple[str, int] | None = INSIDE, trusted: str = "10.0.0.0/8", **fields: str) -> str:
    settings = HttpSettings.model_validate({"trusted_proxies": trusted})
    headers = Headers({name.replace("_", "-"): value for name, value in fields.items()})
    return Locations(settings).of("/tus/1", headers, peer)


def test_without_proxies_it_is_a_path() -> None:
    assert locate(OUTSIDE, host="example.com") == "/tus/1"


def test_the_public_url_goes_before_everything() -> None:
    settings = HttpSettings(public_url="https://files.example.com/up/", trusted_proxies=("10.0.0.0/8",))
    headers = Headers({"x-forwarded-proto": "http", "x-forwarded-host": "other"})
    assert Locations(settings).of("/tus/1", headers, INSIDE) == "https://files.example.com/up/tus/1"


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("", ""),
        ("https://files.example.com", ""),
        ("https://files.example.com/", ""),
        ("https://a.example/up/x/", "/up/x"),
    ],
)
def test_the_path_of_the_public_url_goes_before_other_links(url: str, prefix: str) -> None:
    assert Locations(HttpSettings.model_validate({"public_url": url})).prefix == prefix


def test_a_trusted_proxy_is_believed() -> None:
    assert locate(x_forwarded_proto="https", x_forwarded_host="example.com") == "https://example.com/tus/1"
    assert locate(forwarded='for=1.2.3.4;proto=https;host="example.com:8443"') == "https://example.com:8443/tus/1"


def test_the_host_may_be_that_of_the_request() -> None:
    assert locate(x_forwarded_proto="https", host="example.com") == "https://example.com/tus/1"


def test_nobody_else_is_believed() -> None:
    assert locate(OUTSIDE, x_forwarded_proto="https", x_forwarded_host="evil.example") == "/tus/1"
    assert locate(None, x_forwarded_proto="https", x_forwarded_host="evil.example") == "/tus/1"


def test_a_proxy_may_connect_by_a_unix_socket() -> None:
    assert locate(None, "unix", x_forwarded_proto="https", host="example.com") == "https://example.com/tus/1"


def test_an_address_of_ipv4_may_be_written_as_one_of_ipv6() -> None:
    assert locate(("::ffff:10.1.2.3", 1), x_forwarded_proto="https", host="h") == "https://h/tus/1"


def test_what_the_nearest_proxy_added_counts_and_not_what_came_with_the_request() -> None:
    assert locate(x_forwarded_proto="http, https", x_forwarded_host="evil.example, example.com") == (
        "https://example.com/tus/1"
    )
    assert locate(forwarded="proto=http;host=evil.example, proto=https;host=example.com") == "https://example.com/tus/1"


def test_fields_that_contradict_each_other_are_not_believed() -> None:
    """A proxy that sets one passes the other on as the client sent it."""
    spoofed = locate(forwarded="proto=https;host=evil.example", x_forwarded_proto="https", host="example.com")
    assert spoofed == "/tus/1"


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "a:b", "", "a\\b", "[::1", "a:123456"])
def test_a_host_that_is_none_is_not_used(host: str) -> None:
    assert locate(x_forwarded_proto="https", x_forwarded_host=host) == "/tus/1"


def test_a_scheme_that_is_none_is_not_used() -> None:
    assert locate(x_forwarded_proto="javascript", host="example.com") == "/tus/1"


@given(st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0")))
def test_whatever_is_forwarded_the_answer_ends_with_the_path(text: str) -> None:
    found = locate(forwarded=text)
    assert found.endswith("/tus/1")
    assert found == "/tus/1" or found.startswith(("http://", "https://"))


@pytest.mark.parametrize("field", ["a" * 60_000, 'a="' * 20_000, 'a="\\' * 15_000, "a=1," * 15_000])
def test_a_long_field_of_a_client_behind_the_proxy_costs_no_time(field: str) -> None:
    began = time.process_time()
    assert locate(forwarded=field) == "/tus/1"
    assert time.process_time() - began < 2  # with a search that begins again at each letter: most of a minute
