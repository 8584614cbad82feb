"""Downloads: whole and verified, or not at all."""

from pathlib import Path
from random import Random

import pytest

from client import (
    AsyncClient,
    DownloadError,
    IntegrityError,
    InvalidArgumentError,
    SluiceApiError,
    SluiceConnectionError,
)
from tests.unit.client.stand_in import StandIn

CONTENT = Random(7).randbytes(3 * 1024 * 1024 + 5)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def file_id(stand_in: StandIn) -> str:
    return stand_in.add_file(CONTENT, "a.bin")


async def test_a_download_is_whole_and_verified(client: AsyncClient, file_id: str, tmp_path: Path) -> None:
    result = await client.download(file_id, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert (result.size, result.verified) == (len(CONTENT), True)
    assert names(tmp_path) == ["copy"]


async def test_an_empty_file_is_downloaded(client: AsyncClient, stand_in: StandIn, tmp_path: Path) -> None:
    result = await client.download(stand_in.add_file(b"", "empty"), tmp_path / "copy")
    assert result.verified
    assert (tmp_path / "copy").read_bytes() == b""


async def test_a_broken_download_goes_on_where_it_stopped(
    client: AsyncClient, stand_in: StandIn, file_id: str, tmp_path: Path
) -> None:
    stand_in.fault("GET", "/content", "truncate", after=1_500_000)
    stand_in.fault("GET", "/content", "truncate", after=100)
    await client.download(file_id, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert stand_in.ranges == [None, "bytes=1500000-", "bytes=1500100-"]


async def test_progress_restarts_the_attempts_of_a_download(
    client: AsyncClient, stand_in: StandIn, file_id: str, tmp_path: Path
) -> None:
    stand_in.fault("GET", "/content", "truncate", after=1000, times=12)
    await client.download(file_id, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT


async def test_a_download_without_any_progress_is_given_up(
    client: AsyncClient, stand_in: StandIn, file_id: str, tmp_path: Path
) -> None:
    stand_in.fault("GET", "/content", "truncate", after=0, times=-1)
    with pytest.raises(SluiceConnectionError):
        await client.download(file_id, tmp_path / "copy")
    assert names(tmp_path) == []


async def test_damaged_content_is_never_put_in_place(
    client: AsyncClient, stand_in: StandIn, file_id: str, tmp_path: Path
) -> None:
    stand_in.contents[file_id] = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    with pytest.raises(IntegrityError):
        await client.download(file_id, tmp_path / "copy")
    assert names(tmp_path) == []


async def test_an_existing_file_is_left_alone(client: AsyncClient, file_id: str, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(DownloadError, match="exists already"):
        await client.download(file_id, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


async def test_an_existing_file_is_replaced_on_request(client: AsyncClient, file_id: str, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    await client.download(file_id, tmp_path / "copy", overwrite=True)
    assert (tmp_path / "copy").read_bytes() == CONTENT


async def test_a_folder_that_is_not_there_is_named(client: AsyncClient, file_id: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"^there is no folder {tmp_path}/no/such$"):
        await client.download(file_id, tmp_path / "no" / "such" / "copy")


async def test_a_path_that_cannot_be_written_is_named_as_it_was_given(client: AsyncClient, file_id: str) -> None:
    with pytest.raises(OSError, match="/proc/copy") as refused:  # a folder where nobody can make files
        await client.download(file_id, "/proc/copy")
    assert refused.value.filename == "/proc/copy"


async def test_an_unknown_file_leaves_nothing(client: AsyncClient, tmp_path: Path) -> None:
    with pytest.raises(SluiceApiError):
        await client.download("unknown", tmp_path / "copy")
    assert names(tmp_path) == []


async def test_a_range_is_read(client: AsyncClient, file_id: str) -> None:
    assert await client.read_range(file_id, 10, 20) == CONTENT[10:30]


async def test_a_range_ends_with_the_file(client: AsyncClient, file_id: str) -> None:
    assert await client.read_range(file_id, len(CONTENT) - 3, 20) == CONTENT[-3:]


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 0)])
async def test_a_senseless_range_is_refused(client: AsyncClient, file_id: str, start: int, length: int) -> None:
    with pytest.raises(InvalidArgumentError):
        await client.read_range(file_id, start, length)


async def test_a_damaged_file_is_told_at_once(client: AsyncClient, stand_in: StandIn, tmp_path: Path) -> None:
    """Asking again does not mend it, unlike other answers of 500."""
    file_id = stand_in.add_file(b"content", "a")
    stand_in.fault("GET", "/content", "answer", status=500, code="file_corrupt")
    with pytest.raises(SluiceApiError, match="file_corrupt"):
        await client.download(file_id, tmp_path / "a")
    assert stand_in.count("GET /v1/files") == 1
    assert not (tmp_path / "a").exists()
