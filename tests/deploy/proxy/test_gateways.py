"""Between nginx and the gateways: what it asks a second one for, what it tells them, how it passes answers on."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest

from gateway.protocol import MAX_HEAD
from tests.deploy.proxy.conftest import StandIn
from tests.fixtures.nginx import nginx

Start = Callable[..., AbstractAsyncContextManager[StandIn]]


@pytest.mark.parametrize(
    ("method", "content", "asked"),
    [
        pytest.param("GET", None, 2, id="GET"),
        pytest.param("POST", None, 1, id="POST without a body"),
        pytest.param("POST", b"{}", 1, id="POST"),
        pytest.param("PATCH", b"x", 1, id="PATCH"),
        pytest.param("PUT", bytes(4 * 1024**2), 1, id="PUT of more than nginx holds"),
    ],
)
async def test_only_a_request_that_may_be_repeated_is_sent_to_a_second_gateway(
    stand_in: Start, method: str, content: bytes | None, asked: int
) -> None:
    async with stand_in(cuts=True) as one, stand_in(cuts=True) as two:
        with nginx([one.port, two.port]) as proxy:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.request(method, f"{proxy.url}/v1/uploads", content=content)

    assert answer.status_code == 503
    assert len(one.heads) + len(two.heads) == asked


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_a_gateway_that_cannot_be_reached_is_passed_over(stand_in: Start, free_port: int, method: str) -> None:
    async with stand_in() as there:
        with nginx([free_port, there.port]) as proxy:
            async with httpx.AsyncClient(trust_env=False) as client:
                answers = [await client.request(method, f"{proxy.url}/v1/uploads", content=b"x") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 4


async def test_what_a_client_claims_about_itself_ends_at_the_proxy(stand_in: Start) -> None:
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.9"}
    async with stand_in() as there:
        with nginx([there.port]) as proxy:
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"{proxy.url}/v1/limits", headers={**claims, "Host": "files.example"})

    assert there.header("X-Forwarded-For") == ["127.0.0.1"]
    assert there.header("X-Forwarded-Proto") == ["http"]
    assert there.header("X-Forwarded-Host") == there.header("Host") == ["files.example"]
    assert there.header("Forwarded") == []


async def test_a_field_as_long_as_a_gateway_takes_comes_through(stand_in: Start) -> None:
    metadata = "note " + "A" * (MAX_HEAD - 2048)
    async with stand_in() as there:
        with nginx([there.port]) as proxy:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.post(f"{proxy.url}/tus/", headers={"Upload-Metadata": metadata})

    assert answer.status_code == 200
    assert there.header("Upload-Metadata") == [metadata]


async def test_an_answer_reaches_the_client_before_the_gateway_has_sent_the_last(stand_in: Start) -> None:
    async with stand_in(held=True) as there, httpx.AsyncClient(trust_env=False) as client:
        with nginx([there.port]) as proxy:
            async with client.stream("GET", f"{proxy.url}/v1/files/x/content") as answer:
                pieces = answer.aiter_raw()
                first = await anext(pieces)
                there.go_on.set()
                rest = b"".join([piece async for piece in pieces])

    assert first == there.first
    assert rest == there.last
