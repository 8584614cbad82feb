"""Direct uploads: links are fetched as they are needed, and the store gets the bytes and nothing else."""

from random import Random

import pytest

from client import AsyncClient, RetryPolicy, SluiceApiError, UploadOptions
from client.direct import Link, parse_links
from client.errors import SluiceProtocolError
from tests.unit.client.stand_in import CHUNK_SIZE, StandIn

DATA = Random(7).randbytes(5 * CHUNK_SIZE - 100)
DIRECT = UploadOptions(direct=True, parallel=1)


async def test_every_chunk_goes_to_the_store_and_none_to_the_server(client: AsyncClient, stand_in: StandIn) -> None:
    result = await client.upload_bytes(DATA, "a.bin", DIRECT)
    assert stand_in.contents[result.file_id or ""] == DATA
    assert stand_in.count("PUT /store/") == 5
    assert not any("/chunks/" in line for line in stand_in.seen)
    assert result.sent_bytes == len(DATA)


async def test_a_page_of_links_is_fetched_once(client: AsyncClient, stand_in: StandIn) -> None:
    await client.upload_bytes(DATA, "a.bin", DIRECT)
    assert sum(line.endswith("/parts") for line in stand_in.seen) == 3  # five chunks, two links a page


async def test_links_that_are_about_to_run_out_are_not_used(client: AsyncClient, stand_in: StandIn) -> None:
    stand_in.links_until = "2020-01-01T00:00:00Z"
    with pytest.raises(SluiceApiError):
        await client.upload_bytes(DATA, "a.bin", DIRECT)
    assert stand_in.to_the_store == []


async def test_a_link_that_was_refused_is_fetched_again(client: AsyncClient, stand_in: StandIn) -> None:
    stand_in.fault("PUT", "/1", "answer", status=403, code="http_403")
    result = await client.upload_bytes(DATA, "a.bin", DIRECT)
    assert stand_in.contents[result.file_id or ""] == DATA
    refused = next(at for at, line in enumerate(stand_in.seen) if line.endswith("/1"))
    assert stand_in.seen[refused + 1].endswith("/parts")


@pytest.mark.parametrize("kind", ["cut", "lose", "answer"])
async def test_a_part_that_fails_is_sent_again(client: AsyncClient, stand_in: StandIn, kind: str) -> None:
    stand_in.fault("PUT", "/2", kind)
    result = await client.upload_bytes(DATA, "a.bin", DIRECT)
    assert stand_in.contents[result.file_id or ""] == DATA


async def test_the_store_gets_what_was_signed_and_nothing_that_is_for_the_server(
    stand_in: StandIn, patience: RetryPolicy
) -> None:
    async with AsyncClient(stand_in.url, headers={"Authorization": "Bearer ours"}, retry=patience) as client:
        await client.upload_bytes(DATA, "a.bin", DIRECT)
    assert all("authorization" not in headers for headers in stand_in.to_the_store)
    assert all(headers["x-signed"] == "yes" and "content-md5" in headers for headers in stand_in.to_the_store)


async def test_only_missing_chunks_are_sent(client: AsyncClient, stand_in: StandIn) -> None:
    stand_in.damaged = [[1, 3]]
    result = await client.upload_bytes(DATA, "a.bin", DIRECT)
    assert stand_in.contents[result.file_id or ""] == DATA
    assert stand_in.count("PUT /store/") == 7


def test_a_link_is_not_told_by_its_text() -> None:
    page = {"expires_at": "2031-01-01T00:00:00Z", "items": [{"index": 1, "size": 2, "url": "http://x/?secret"}]}
    (link,) = parse_links(page)
    assert isinstance(link, Link)
    assert "secret" not in repr(link)


@pytest.mark.parametrize("page", [{"items": []}, {"expires_at": "2031-01-01T00:00:00Z", "items": [{"index": 1}]}])
def test_a_page_of_another_form_is_a_broken_contract(page: dict[str, object]) -> None:
    with pytest.raises(SluiceProtocolError):
        parse_links(page)
