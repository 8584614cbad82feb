"""The judge of the chaos run is able to say no: each kind of harm done by hand is named."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete, update

from common.db.models import File, Job, Upload
from common.states import JobKind, JobState, UploadState
from tests.faults.chaos.crowd import Accepted
from tests.faults.chaos.verdict import Books, Verdict, judge
from tests.integration.worker.rig import Rig, close_rig, new_job, open_rig, worker_settings

CONTENT = b"judged" * 1000
Judge = Callable[[], Awaitable[Verdict]]

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def rig(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    opened = await open_rig(worker_settings(database_url, redis_url, tmp_path))
    yield opened
    await close_rig(opened)


@pytest.fixture
async def upload(rig: Rig) -> Upload:
    """One that went all the way."""
    begun = await rig.upload(CONTENT)
    await rig.finalize(begun)
    await rig.run()
    return await rig.get_upload(begun.id)


@pytest.fixture
def judged(rig: Rig, upload: Upload, tmp_path: Path) -> Judge:
    """The judge over this rig, told that the upload was accepted."""
    storage = tmp_path / "storage"

    def content(request: httpx.Request) -> httpx.Response:
        [path] = storage.glob(f"*/files/*/{request.url.path.split('/')[3]}")
        return httpx.Response(200, content=path.read_bytes())

    async def run() -> Verdict:
        accepted = [Accepted(upload.job_id or "", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))]
        async with httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(content)) as http:
            return await judge(Books(rig.database), http, storage, accepted)

    return run


def _stored(folder: Path) -> Path:
    [path] = (folder / "storage").glob("*/files/*/*")
    return path


async def test_a_whole_file_and_nothing_else_is_good(judged: Judge) -> None:
    verdict = await judged()
    assert verdict.good, verdict
    assert verdict.checked == 1


async def test_another_byte_is_seen(judged: Judge, tmp_path: Path) -> None:
    path = _stored(tmp_path)
    path.chmod(0o640)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert len((await judged()).altered) == 1


@pytest.mark.parametrize("name", [".probe-1", "default/files/aa/left", "default/uploads/u/receipts-1.tmp"])
async def test_what_no_row_explains_is_seen(judged: Judge, tmp_path: Path, name: str) -> None:
    path = tmp_path / "storage" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert (await judged()).orphans != []


async def test_a_missing_file_row_is_seen(judged: Judge, rig: Rig) -> None:
    async with rig.database.transaction() as repository:
        await repository.session.execute(delete(File))
    verdict = await judged()
    assert len(verdict.failed) == 1
    assert len(verdict.orphans) == 1  # its bytes


async def test_a_job_that_never_ends_is_seen(judged: Judge, rig: Rig, upload: Upload) -> None:
    async with rig.database.transaction() as repository:
        await repository.session.execute(update(Job).values(state=JobState.RUNNING))
    assert len((await judged()).stuck) == 2


async def test_a_second_metadata_job_and_an_odd_upload_are_seen(judged: Judge, rig: Rig, upload: Upload) -> None:
    async with rig.database.transaction() as repository:
        again = new_job(upload, JobKind.METADATA, file_id=upload.file_id, round=1, state=JobState.SUCCEEDED)
        await repository.jobs.insert(again)
        await repository.session.execute(update(Upload).values(state=UploadState.FINALIZING))
    verdict = await judged()
    assert len(verdict.doubled) == 1
    assert len(verdict.orphans) == 2  # the upload, and the file that no complete upload names
