"""tuspy, the Python client of tus: sync and async, with checksums, resumed, and with a length that comes last."""

from typing import Any

import pytest
from tusclient import client as tuspy
from tusclient.uploader import Uploader

from tests.clients.conftest import MIB, MakeSample, Sample
from tests.clients.fleet import Fleet

CHUNK = 1 * MIB


@pytest.fixture
def tus(fleet: Fleet) -> tuspy.TusClient:
    return tuspy.TusClient(f"{fleet.url}/tus/")


def options_of(sample: Sample, **more: Any) -> dict[str, Any]:
    return {"metadata": {"filename": sample.name, "filetype": "application/octet-stream"}, "chunk_size": CHUNK, **more}


@pytest.mark.parametrize("checksum", [False, True])
def test_the_sync_uploader(fleet: Fleet, tus: tuspy.TusClient, sample: MakeSample, checksum: bool) -> None:
    one = sample(3 * CHUNK + 5)
    with one.path.open("rb") as stream:
        tus.uploader(file_stream=stream, **options_of(one, upload_checksum=checksum)).upload()
    assert fleet.listed(one.name)["digests"]["sha-256"] == one.sha256


@pytest.mark.parametrize("checksum", [False, True])
async def test_the_async_uploader(fleet: Fleet, tus: tuspy.TusClient, sample: MakeSample, checksum: bool) -> None:
    one = sample(3 * CHUNK + 5)
    with one.path.open("rb") as stream:
        await tus.async_uploader(file_stream=stream, **options_of(one, upload_checksum=checksum)).upload()
    assert fleet.listed(one.name)["digests"]["sha-256"] == one.sha256


def test_an_empty_file(fleet: Fleet, tus: tuspy.TusClient, sample: MakeSample) -> None:
    one = sample(0)
    with one.path.open("rb") as stream:
        tus.uploader(file_stream=stream, **options_of(one)).upload()
    assert fleet.listed(one.name)["digests"]["sha-256"] == one.sha256


def test_a_second_uploader_goes_on_where_the_first_has_stopped(
    fleet: Fleet, tus: tuspy.TusClient, sample: MakeSample
) -> None:
    one = sample(4 * CHUNK)
    with one.path.open("rb") as stream:
        first = tus.uploader(file_stream=stream, **options_of(one))
        first.upload(stop_at=2 * CHUNK)
        second = tus.uploader(file_stream=stream, url=first.url, **options_of(one))
        begun_at = second.offset
        second.upload()
    assert begun_at == 2 * CHUNK
    assert fleet.listed(one.name)["digests"]["sha-256"] == one.sha256


class LengthLast(Uploader):  # type: ignore[misc]
    """tuspy always declares the length at the start; this one does as the protocol's creation-defer-length allows."""

    def get_url_creation_headers(self) -> dict[str, str]:
        headers: dict[str, str] = super().get_url_creation_headers()
        del headers["upload-length"]
        return {**headers, "upload-defer-length": "1"}

    def get_headers(self) -> dict[str, str]:
        headers: dict[str, str] = super().get_headers()
        last = self.url is not None and self.offset + self.get_request_length() == self.stop_at
        return {**headers, "upload-length": str(self.stop_at)} if last else headers


def test_a_length_that_is_declared_with_the_last_chunk(fleet: Fleet, tus: tuspy.TusClient, sample: MakeSample) -> None:
    one = sample(2 * CHUNK + 7)
    with one.path.open("rb") as stream:
        LengthLast(client=tus, file_stream=stream, **options_of(one)).upload()
    assert fleet.listed(one.name)["digests"]["sha-256"] == one.sha256
