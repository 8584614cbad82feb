"""A final upload whose parts have all arrived gets its job also when the gateway dies that would have made it."""

import asyncio
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from common.db.migrate import migrate
from common.db.models import Upload
from common.states import JobKind, UploadState
from common.storage.base import UploadKey
from gateway.service.assembling import Assembling
from gateway.service.streams import StreamStatus
from tests.integration.gateway.processes import gateway_process, part
from tests.integration.gateway.rig import Gateway as GatewayProcess
from tests.integration.gateway.rig import environment_of, until
from tests.integration.gateway.tus.client import Tus
from tests.integration.streams.site import ME, Gateway, Site
from tests.integration.streams.test_concatenations import CONTENT, concatenated, partial
from tests.integration.worker.rig import Rig
from worker.finals import YOUNG, Finals

DYING = "tests.integration.streams.dying_gateway"
Last = Callable[[Tus, str, str], object]


def last_part(client: Tus, whole: str, half: str) -> None:
    client.ask("POST", "/tus", Upload_Concat=f"final;{whole} {half}")
    client.patch(half, 2, b"ef")


def creation(client: Tus, whole: str, half: str) -> None:
    client.patch(half, 2, b"ef")
    client.ask("POST", "/tus", Upload_Concat=f"final;{whole} {half}")


def state_of_final(folder: Path) -> str | None:
    with closing(sqlite3.connect(folder / "sluice.db", timeout=10)) as connection:
        found = connection.execute("SELECT state FROM uploads WHERE parts IS NOT NULL").fetchone()
    return str(found[0]) if found else None


def age_final(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "sluice.db", timeout=10)) as connection, connection:
        connection.execute("UPDATE uploads SET created_at = '2025-01-01 00:00:00.000000' WHERE parts IS NOT NULL")


@pytest.mark.parametrize("last", [last_part, creation])
def test_a_gateway_that_is_killed_before_it_made_the_job_holds_up_no_file(
    last: Last, tmp_path: Path, redis_url: str, free_port: int
) -> None:
    migrate(f"sqlite:///{tmp_path / 'sluice.db'}")

    def send(gateway: GatewayProcess) -> None:
        client = Tus(gateway.http)
        whole = client.new(4, b"abcd", Upload_Concat="partial")
        half = client.new(4, b"gh", Upload_Concat="partial")
        with suppress(httpx.TransportError):  # it dies while it answers
            last(client, whole, half)

    with gateway_process(tmp_path, redis_url, free_port, module=DYING) as (gateway, process):
        send(gateway)
        assert process.wait(20) == -signal.SIGKILL
    assert state_of_final(tmp_path) == UploadState.OPEN
    age_final(tmp_path)

    environment = environment_of(tmp_path, redis_url, SWEEP_SECONDS="0.2")
    with part("worker", environment=environment, log=tmp_path / "worker.log"):
        until(lambda: state_of_final(tmp_path) == UploadState.COMPLETE)
    (file,) = (path for path in (tmp_path / "storage" / ME.tenant / "files").rglob("*") if path.is_file())
    assert file.read_bytes() == b"abcdghef"


# --- what the sweep does ------------------------------------------------------------------------------------


@pytest.fixture
def nobody_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each gateway died before it made the job of a final upload."""

    async def died(*_: object) -> None:
        return None

    monkeypatch.setattr(Assembling, "started", died)


async def left_behind(site: Site, gateway: Gateway, *partial_ids: str, age: float = 2 * YOUNG) -> StreamStatus:
    """A final upload that was created `age` seconds ago, and that nobody has started."""
    final = await concatenated(gateway, *partial_ids)
    async with site.rig.database.transaction() as repository:
        created = datetime.now(UTC) - timedelta(seconds=age)
        await repository.session.execute(update(Upload).where(Upload.id == final.upload.id).values(created_at=created))
    return final


@pytest.mark.usefixtures("nobody_starts")
async def test_the_sweep_starts_it_and_tells(site: Site, gateway: Gateway) -> None:
    final = await left_behind(site, gateway, await partial(gateway, CONTENT), await partial(gateway, b"abc"))
    assert final.job_id is None
    await site.rig.parts.sweep.once()
    assert site.rig.counted("swept_total", reason="parts_arrived") == 1
    assert (await site.published(final.upload.id))[1] == CONTENT + b"abc"


@pytest.mark.usefixtures("nobody_starts")
async def test_it_is_left_alone_while_a_part_is_not_whole_or_has_no_size_or_has_ended(
    site: Site, gateway: Gateway
) -> None:
    whole, ended = await partial(gateway, CONTENT), await partial(gateway, b"abc")
    others = [await partial(gateway, CONTENT, whole=False), await partial(gateway, b"abc", size=-1), ended]
    finals = [await left_behind(site, gateway, whole, other) for other in others]
    await gateway.services.streams.abort(ME, ended)
    await site.rig.parts.sweep.start_finals()
    assert {(await site.rig.get_upload(final.upload.id)).state for final in finals} == {UploadState.OPEN}


@pytest.mark.usefixtures("nobody_starts")
async def test_it_is_left_alone_while_its_gateway_may_still_make_room_for_it(site: Site, gateway: Gateway) -> None:
    final = await left_behind(site, gateway, await partial(gateway, CONTENT), age=YOUNG / 2)
    await site.rig.parts.sweep.start_finals()
    assert (await site.rig.get_upload(final.upload.id)).state == UploadState.OPEN


@pytest.mark.usefixtures("nobody_starts")
async def test_it_is_left_alone_where_it_is_larger_than_a_file_may_be(site: Site, gateway: Gateway) -> None:
    final = await left_behind(site, gateway, await partial(gateway, CONTENT))
    limits = site.settings.limits.model_copy(update={"max_file_size": len(CONTENT) - 1})
    strict = Rig(replace(site.settings, limits=limits), site.rig.database, site.rig.storage, site.rig.redis)
    await strict.parts.sweep.start_finals()
    assert (await site.rig.get_upload(final.upload.id)).state == UploadState.OPEN


@pytest.mark.usefixtures("nobody_starts")
async def test_a_part_whose_bytes_are_gone_does_not_keep_others_from_their_start(site: Site, gateway: Gateway) -> None:
    lost, whole = await partial(gateway, CONTENT), await partial(gateway, CONTENT)
    waiting, ready = await left_behind(site, gateway, lost), await left_behind(site, gateway, whole)
    await site.rig.storage.abort(UploadKey(ME.tenant, lost))
    await site.rig.parts.sweep.start_finals()
    assert (await site.rig.get_upload(waiting.upload.id)).state == UploadState.OPEN
    assert (await site.rig.get_upload(ready.upload.id)).state == UploadState.FINALIZING


@pytest.mark.usefixtures("nobody_starts")
async def test_many_sweeps_at_once_make_one_job_and_look_once(
    site: Site, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await left_behind(site, gateway, await partial(gateway, CONTENT))
    looks = 0
    end = type(site.rig.storage).end  # type: ignore[attr-defined]

    async def counted(*arguments: object) -> int:
        nonlocal looks
        looks += 1
        return int(await end(*arguments))

    monkeypatch.setattr(type(site.rig.storage), "end", counted)
    await asyncio.gather(*(Finals(site.rig.context, f"worker-{number}").start() for number in range(8)))
    assert len(await site.rig.jobs(JobKind.FINALIZE)) == 1
    assert looks == 1


@pytest.mark.usefixtures("nobody_starts")
async def test_each_round_goes_on_where_the_one_before_ended(
    site: Site, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.finals.AT_ONCE", 1)
    monkeypatch.setattr("worker.finals.REST", 0.0)
    half = await partial(gateway, CONTENT, whole=False)
    waiting = [await left_behind(site, gateway, half) for _ in range(2)]
    ready = await left_behind(site, gateway, await partial(gateway, CONTENT))
    for _ in range(3):
        await site.rig.parts.sweep.start_finals()
    assert (await site.rig.get_upload(ready.upload.id)).state == UploadState.FINALIZING
    assert {(await site.rig.get_upload(each.upload.id)).state for each in waiting} == {UploadState.OPEN}
