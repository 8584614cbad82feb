"""Calls and answers: what goes over the wire and what an answer becomes."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from client import (
    AsyncClient,
    InvalidArgumentError,
    RetryPolicy,
    SluiceApiError,
    SluiceConnectionError,
    SluiceProtocolError,
)
from tests.unit.client.stand_in import StandIn

Answer = Callable[[httpx.Request], httpx.Response]


class Garbage(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"no gzip"


def talking_to(answer: Answer) -> AsyncClient:
    """A client whose every request is answered by a function."""
    policy = RetryPolicy(attempts=3, base=0, cap=0)
    return AsyncClient("http://sluice/prefix/", headers={"X-Mine": "1"}, retry=policy, transport=mock(answer))


def mock(answer: Answer) -> httpx.MockTransport:
    return httpx.MockTransport(answer)


async def test_a_problem_document_becomes_an_error_with_its_members() -> None:
    body = {"title": "T", "detail": "D.", "code": "chunks_missing", "request_id": "r", "missing": [[0, 1]]}
    async with talking_to(lambda _: httpx.Response(409, json=body, headers={"retry-after": "3"})) as client:
        with pytest.raises(SluiceApiError) as refused:
            await client.get_upload("u")
    error = refused.value
    assert (error.status, error.code, error.detail, error.request_id) == (409, "chunks_missing", "D.", "r")
    assert (error.extras, error.retry_after) == ({"missing": [[0, 1]]}, 3)
    assert str(error) == "D. (409 chunks_missing) [request r]"


async def test_an_error_page_of_a_proxy_is_told_as_what_it_is() -> None:
    async with talking_to(lambda _: httpx.Response(413, text="<html>")) as client:
        with pytest.raises(SluiceApiError, match="Request Entity Too Large") as refused:
            await client.limits()
    assert refused.value.code == "http_413"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"x"'])
async def test_an_answer_that_is_no_object_is_a_protocol_error(body: bytes) -> None:
    async with talking_to(lambda _: httpx.Response(200, content=body)) as client:
        with pytest.raises(SluiceProtocolError):
            await client.limits()


async def test_a_redirect_is_not_followed() -> None:
    async with talking_to(lambda _: httpx.Response(302, headers={"location": "http://elsewhere/"})) as client:
        with pytest.raises(SluiceApiError):
            await client.limits()


async def test_headers_and_prefix_go_with_every_request() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    async with talking_to(answer) as client:
        await client.limits()
    assert str(seen[0].url) == "http://sluice/prefix/v1/limits"
    assert seen[0].headers["x-mine"] == "1"


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.WriteError])
async def test_no_error_of_the_transport_gets_out(error: type[httpx.TransportError]) -> None:
    tried = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal tried
        tried += 1
        raise error("broken")

    async with talking_to(answer) as client:
        with pytest.raises(SluiceConnectionError, match="after 3 attempts: broken"):
            await client.limits()
    assert tried == 3


async def test_an_answer_that_cannot_be_decoded_is_not_repeated() -> None:
    broken = {"content-encoding": "gzip"}
    async with talking_to(lambda _: httpx.Response(200, headers=broken, stream=Garbage())) as client:
        with pytest.raises(SluiceConnectionError, match="1 attempt:"):
            await client.limits()


async def test_a_file_sent_in_one_request_is_not_repeated_when_its_outcome_is_unknown() -> None:
    tried = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal tried
        tried += 1
        raise httpx.ReadError("lost")

    async with talking_to(answer) as client:
        with pytest.raises(SluiceConnectionError, match="1 attempt:"):
            await client.post_file(b"x", "x.txt")
    assert tried == 1


async def test_a_file_sent_in_one_request_is_repeated_when_it_was_not_taken(
    client: AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault("POST", "/v1/files", "answer", status=503)
    job = await client.post_file(b"content", "ü.txt", content_type="text/plain")
    assert stand_in.contents[str(job.file_id)] == b"content"
    assert stand_in.files[str(job.file_id)]["filename"].endswith("filename*=UTF-8''%C3%BC.txt")


async def test_a_file_sent_in_one_request_may_be_waited_for(client: AsyncClient) -> None:
    assert not (await client.post_file(b"content", "a.txt")).finished
    assert (await client.post_file(b"content", "a.txt", wait=20)).succeeded


@pytest.mark.parametrize("wrong", ["", ".", ".."])
async def test_a_text_that_would_change_the_path_is_no_id(client: AsyncClient, wrong: str) -> None:
    with pytest.raises(InvalidArgumentError):
        await client.delete_file(wrong)


async def test_an_id_cannot_leave_its_place_in_the_path(client: AsyncClient, stand_in: StandIn) -> None:
    with pytest.raises(SluiceApiError):
        await client.get_file("../uploads?x#y")
    assert stand_in.count("GET /v1/uploads") == 0


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a", "http://", "http://a:b", "http://a:65536"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError):
        AsyncClient(url)


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "localhost:8000", "sluice.example.org"])
def test_a_url_without_its_scheme_is_suggested_with_it(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"; did you mean http://{text}\\?$"):
        AsyncClient(text)


@pytest.mark.parametrize("text", ["", "ftp://a", ":8000", "a:b"])
def test_what_would_be_no_better_is_not_suggested(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        AsyncClient(text)
    assert "did you mean" not in str(refused.value)


async def test_a_listing_runs_over_all_pages(client: AsyncClient, stand_in: StandIn) -> None:
    for name in "abcde":
        stand_in.add_file(b"", name)
    assert [file.filename async for file in client.list_files()] == list("abcde")
    assert stand_in.count("GET /v1/files") == 3


async def test_filters_are_query_parameters() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.query.decode())
        return httpx.Response(200, json={"items": [], "next_cursor": None})

    async with talking_to(answer) as client:
        await client.files_page(limit=5, filters={"tag": ["a=1", "b=2"], "filename": None})
        await client.jobs_page(state="failed", kind="finalize")
    assert seen == ["limit=5&tag=a%3D1&tag=b%3D2", "state=failed&kind=finalize"]


async def test_a_file_is_described_anew_and_removed(client: AsyncClient, stand_in: StandIn) -> None:
    file_id = stand_in.add_file(b"", "a")
    assert (await client.patch_file(file_id, {"description": "d"})).description == "d"
    await client.delete_file(file_id)
    assert stand_in.files == {}


async def test_a_removal_whose_answer_was_lost_is_done(client: AsyncClient, stand_in: StandIn) -> None:
    file_id = stand_in.add_file(b"", "a")
    stand_in.fault("DELETE", file_id, "lose")
    await client.delete_file(file_id)
    assert stand_in.count("DELETE") == 2


async def test_removing_what_never_was_is_an_error(client: AsyncClient) -> None:
    with pytest.raises(SluiceApiError):
        await client.delete_file("unknown")
