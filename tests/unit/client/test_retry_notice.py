"""A caller is told that a request failed and will be made again."""

from pathlib import Path

import httpx
import pytest

from client import AsyncClient, RetryNotice, RetryPolicy, SluiceApiError, SluiceConnectionError, UploadOptions
from tests.unit.client.conftest import MakeFile
from tests.unit.client.stand_in import CHUNK_SIZE, StandIn


@pytest.fixture
def told() -> list[RetryNotice]:
    return []


async def test_an_upload_tells_each_failure_before_the_pause(
    client: AsyncClient, stand_in: StandIn, make_file: MakeFile, told: list[RetryNotice]
) -> None:
    stand_in.fault("POST", "/v1/uploads", "answer", status=503, times=2)
    await client.upload_file(make_file(10), UploadOptions(on_retry=told.append))
    assert [(one.attempt, one.attempts) for one in told] == [(2, 5), (3, 5)]
    assert told[0].reason == "refused: unavailable (503 unavailable) [request r-1]"
    assert isinstance(told[0].error, SluiceApiError)
    assert 0 <= told[0].delay <= 0.002


async def test_an_upload_from_memory_tells_too(client: AsyncClient, stand_in: StandIn, told: list[RetryNotice]) -> None:
    stand_in.fault("PUT", "/chunks/0", "cut")
    await client.upload_bytes(b"x" * CHUNK_SIZE, "x", UploadOptions(on_retry=told.append))
    assert [one.attempt for one in told] == [2]
    assert told[0].reason.startswith(f"no answer from {stand_in.url}: ")


async def test_a_download_tells_too(
    client: AsyncClient, stand_in: StandIn, told: list[RetryNotice], tmp_path: Path
) -> None:
    file_id = stand_in.add_file(b"x" * 100, "x")
    stand_in.fault("GET", "/content", "truncate", after=50)
    await client.download(file_id, tmp_path / "x", on_retry=told.append)
    assert [one.attempt for one in told] == [2]


async def test_the_last_failure_is_an_error_and_no_notice(told: list[RetryNotice]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("broken")

    policy = RetryPolicy(attempts=3, base=0, cap=0)
    async with AsyncClient("http://sluice", retry=policy, transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(SluiceConnectionError):
            await client.upload_bytes(b"", "x", UploadOptions(on_retry=told.append))
    assert [one.reason for one in told] == ["no answer from http://sluice: broken"] * 2


async def test_other_work_of_the_same_client_tells_nothing(
    client: AsyncClient, stand_in: StandIn, told: list[RetryNotice]
) -> None:
    await client.upload_bytes(b"x", "x", UploadOptions(on_retry=told.append))
    stand_in.fault("GET", "/v1/limits", "answer", status=503)
    await client.limits()
    assert told == []


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadError])
async def test_no_message_holds_the_password_of_the_url(error: type[httpx.TransportError]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error("broken")

    transport = httpx.MockTransport(answer)
    async with AsyncClient("http://me:hush@sluice", retry=RetryPolicy(attempts=1), transport=transport) as client:
        with pytest.raises(SluiceConnectionError, match="no answer from http://sluice after") as failed:
            await client.limits()
    assert failed.value.reached is (error is httpx.ReadError)
