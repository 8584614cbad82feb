"""All files of a form are taken or none, also where the database fails in the middle; and it fails in time."""

import sqlite3
import time

import pytest

from common.db.uploads import Uploads
from gateway.service.finalize import FinalizeService
from tests.integration.gateway.rig import Gateway, assert_problem
from tests.integration.gateway.test_ingest import END, nothing_is_left, part, post_form

FILES = 12


def form(count: int = FILES) -> bytes:
    return b"".join(part(f'name="file"; filename="{number}.txt"', "content") for number in range(count)) + END


def test_the_jobs_of_a_form_begin_in_one_transaction(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    start_all = Uploads.start_all

    async def counted(self: Uploads, starts: object, *, wait: bool) -> object:
        seen.append(len(starts))  # type: ignore[arg-type]
        return await start_all(self, starts, wait=wait)  # type: ignore[arg-type]

    monkeypatch.setattr(Uploads, "start_all", counted)
    assert post_form(own_gateway, form()).status_code == 202
    assert seen == [FILES]


def test_one_that_somebody_else_has_ended_ends_all(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    start_all = Uploads.start_all

    async def all_but_one(self: Uploads, starts: list[object], *, wait: bool) -> object:
        return await start_all(self, starts[1:], wait=wait)  # type: ignore[arg-type]

    monkeypatch.setattr(Uploads, "start_all", all_but_one)
    assert_problem(post_form(own_gateway, form()), 409, "upload_not_open")
    assert nothing_is_left(own_gateway)
    assert own_gateway.sql("SELECT count(*) FROM jobs") == [(0,)]


def test_a_form_whose_database_is_locked_is_refused_in_time(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_together = FinalizeService.start_together
    stranger = sqlite3.connect(own_gateway.folder / "sluice.db", isolation_level=None, check_same_thread=False)

    async def locked(self: FinalizeService, *given: object) -> object:
        stranger.execute("BEGIN IMMEDIATE")
        return await start_together(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(FinalizeService, "start_together", locked)
    began = time.monotonic()
    try:
        assert_problem(post_form(own_gateway, form(30)), 503, "database_unavailable")
        assert time.monotonic() - began < 10  # about two waits for the lock; one for each file would be more
    finally:
        stranger.close()
    assert own_gateway.sql("SELECT count(*) FROM jobs") == [(0,)]
