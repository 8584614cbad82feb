"""A commit that fails once, for a reason that passes: the publish is tried again, and loses nothing."""

import sqlite3

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from common.states import FileState, JobKind, JobState, UploadState
from tests.integration.worker.rig import Rig


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_publish_whose_commit_failed_is_made_again_with_all_its_rows(rig: Rig) -> None:
    upload = await rig.upload(b"some bytes", tags={"colour": "red"})
    job = await rig.finalize(upload)
    failed: list[str] = []

    def fail_once(connection: Connection) -> None:
        [(state,)] = connection.exec_driver_sql("SELECT state FROM uploads").fetchall()
        if state == UploadState.COMPLETE and not failed:
            failed.append(state)
            raise OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O error"))

    event.listen(rig.database.engine.sync_engine, "commit", fail_once)
    await rig.run()

    fresh = await rig.get_upload(upload.id)
    assert failed
    assert (await rig.job(job.id)).state == JobState.SUCCEEDED
    assert fresh.state == UploadState.COMPLETE
    assert fresh.file_id is not None
    assert (await rig.file(fresh.file_id)).state == FileState.READY
    assert [metadata.state for metadata in await rig.jobs(JobKind.METADATA)] == [JobState.SUCCEEDED]
