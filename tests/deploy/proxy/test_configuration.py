"""The numbers in `deploy/nginx` against the settings and constants of the service that they depend on."""

import re
from pathlib import Path

import pytest

from common.settings import load_settings
from gateway.server import KEEP_ALIVE_SECONDS

SETTINGS = load_settings(environ={})
MARGIN = 5.0  # seconds between the bound of a gateway, which says why, and that of nginx, which does not


@pytest.fixture(scope="module")
def directives(root: Path) -> dict[str, str]:
    """Name -> value of all directives, `upstream` ones with that word before them."""
    found = {}
    for name in ("nginx.conf", "gateways.conf"):
        for line in (root / "deploy" / "nginx" / name).read_text().splitlines():
            if match := re.fullmatch(r"\s*(\w+) ([^{}]*?);\s*(?:#.*)?", line):
                found[("upstream " if name == "gateways.conf" else "") + match[1]] = match[2]
    return found


def seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text[:-1])


def test_a_gateway_ends_a_silent_body_before_nginx_does(directives: dict[str, str]) -> None:
    assert seconds(directives["client_body_timeout"]) >= SETTINGS.http.body_idle_timeout + MARGIN


def test_nginx_waits_longer_than_the_longest_held_poll(directives: dict[str, str]) -> None:
    assert seconds(directives["proxy_read_timeout"]) >= SETTINGS.http.max_wait + MARGIN


def test_nginx_lets_go_of_an_idle_connection_before_the_gateway_does(directives: dict[str, str]) -> None:
    assert seconds(directives["upstream keepalive_timeout"]) <= KEEP_ALIVE_SECONDS - MARGIN


def test_nginx_gives_requests_in_flight_as_long_as_a_gateway_does(directives: dict[str, str]) -> None:
    assert seconds(directives["worker_shutdown_timeout"]) >= SETTINGS.http.drain_seconds + MARGIN


def test_the_gateway_alone_decides_how_long_a_body_may_be(directives: dict[str, str]) -> None:
    assert directives["client_max_body_size"] == "0"


def test_bodies_are_stored_neither_on_the_way_in_nor_on_the_way_out(directives: dict[str, str]) -> None:
    assert directives["proxy_request_buffering"] == directives["proxy_buffering"] == "off"
