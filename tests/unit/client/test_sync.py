"""The client for code that is not async."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client, InvalidArgumentError, RetryPolicy, SluiceApiError, UploadOptions
from tests.unit.client.conftest import MakeFile
from tests.unit.client.stand_in import CHUNK_SIZE, StandIn


@pytest.fixture
def blocking(stand_in: StandIn, patience: RetryPolicy) -> Iterator[Client]:
    with Client(stand_in.url, retry=patience) as client:
        yield client


def test_a_file_goes_there_and_back(blocking: Client, make_file: MakeFile, tmp_path: Path) -> None:
    path = make_file(3 * CHUNK_SIZE)
    result = blocking.upload_file(path)
    blocking.download(str(result.file_id), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


async def test_it_works_inside_a_running_loop(blocking: Client) -> None:
    assert blocking.limits().max_chunks == 10_000


def test_errors_arrive_in_the_calling_thread(blocking: Client) -> None:
    with pytest.raises(SluiceApiError):
        blocking.get_file("unknown")


def test_a_listing_runs_over_all_pages(blocking: Client, stand_in: StandIn) -> None:
    for name in "abc":
        stand_in.add_file(b"", name)
    assert [file.filename for file in blocking.list_files()] == list("abc")


def test_the_single_calls_make_an_upload(blocking: Client, stand_in: StandIn) -> None:
    upload = blocking.create_upload({"filename": "a", "size": 3})
    blocking.put_chunk(upload.id, 0, b"abc")
    job = blocking.wait_for_job(blocking.finalize(upload.id).id)
    assert stand_in.contents[str(job.file_id)] == b"abc"


def test_ctrl_c_ends_a_call_and_the_client_stays_usable(
    blocking: Client, stand_in: StandIn, make_file: MakeFile
) -> None:
    held = stand_in.fault("PUT", "/chunks/1", "hold")
    path = make_file(3 * CHUNK_SIZE)
    main = threading.get_ident()

    def press() -> None:
        held.reached.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    person = threading.Thread(target=press)
    person.start()
    with pytest.raises(KeyboardInterrupt):
        blocking.upload_file(path, UploadOptions(parallel=1))
    person.join()
    assert str(path) not in [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    assert blocking.limits().max_chunks == 10_000


def test_closing_ends_the_thread_and_later_calls_are_refused(stand_in: StandIn) -> None:
    client = Client(stand_in.url)
    client.close()
    client.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sluice-client"]
    with pytest.raises(InvalidArgumentError, match="closed"):
        client.limits()
