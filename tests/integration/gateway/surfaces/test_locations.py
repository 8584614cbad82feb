"""The address of a new upload, as the client has to call it, on every surface that gives one."""

import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway

CREATIONS = {
    "/tus": {"Tus-Resumable": "1.0.0", "Upload-Length": "1"},
    "/resumable": {"Upload-Complete": "?0"},
}
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "files.example.com"}


def location(gateway: Gateway, prefix: str, **more: str) -> str:
    answer = gateway.http.post(prefix, headers={**CREATIONS[prefix], **more})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


@pytest.mark.parametrize("prefix", CREATIONS)
def test_it_is_a_path_that_nobody_forges(gateway: Gateway, prefix: str) -> None:
    assert location(gateway, prefix, **FORWARDED).startswith(f"{prefix}/0")


@pytest.mark.parametrize("prefix", CREATIONS)
def test_it_is_what_a_trusted_proxy_says(open_gateway: OpenGateway, prefix: str) -> None:
    gateway = open_gateway(TRUSTED_PROXIES="127.0.0.0/8")
    assert location(gateway, prefix, **FORWARDED).startswith(f"https://files.example.com{prefix}/0")


@pytest.mark.parametrize("prefix", CREATIONS)
def test_it_is_the_public_one_where_that_is_set(open_gateway: OpenGateway, prefix: str) -> None:
    gateway = open_gateway(PUBLIC_URL="https://example.com/up", TRUSTED_PROXIES="127.0.0.0/8")
    assert location(gateway, prefix, **FORWARDED).startswith(f"https://example.com/up{prefix}/0")
