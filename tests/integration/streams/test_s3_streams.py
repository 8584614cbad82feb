"""Streams through the use cases on an S3 store; what every storage does is in the contract."""

import asyncio

import pytest

from common.errors import AppendInterrupted, BodyIncomplete
from gateway.intake import Pieces
from gateway.service.appends import Append
from gateway.service.streams import NewStream
from tests.integration.streams.site import ME, Gateway, Line, Site
from tests.integration.streams.test_appends import broken

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 4096 * 18  # 18 MiB: two parts of 8 MiB and a rest


@pytest.fixture
def variables(s3_settings: dict[str, str]) -> dict[str, str]:
    own = {name.removeprefix("SLUICE_"): value for name, value in s3_settings.items() if name.startswith("SLUICE_")}
    return {"LOG_LEVEL": "warning", **own}


async def test_what_is_smaller_than_a_part_is_kept(site: Site, gateway: Gateway, other: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT), filename="a.bin")
    with pytest.raises(BodyIncomplete):
        await gateway.services.appends.append(ME, upload_id, Append(0), Pieces(broken(CONTENT[:7777])))
    assert (await other.look(upload_id)).offset == 7777
    with pytest.raises(BodyIncomplete):
        await other.services.appends.append(ME, upload_id, Append(7777), Pieces(broken(CONTENT[7777 : 9 * MIB])))
    assert (await gateway.look(upload_id)).offset == 9 * MIB
    status = await gateway.append(upload_id, 9 * MIB, CONTENT[9 * MIB :])
    assert status.complete
    assert (await site.published(upload_id))[1] == CONTENT


async def test_a_stalled_append_is_handed_over(site: Site, gateway: Gateway, other: Gateway) -> None:
    upload_id = await gateway.create(None)
    line = Line(CONTENT[:7777], stalls=True)
    before = asyncio.create_task(gateway.append(upload_id, 0, line))
    await line.sent.wait()
    assert (await other.look(upload_id)).offset == 7777
    with pytest.raises(AppendInterrupted):
        await before
    await other.append(upload_id, 7777, CONTENT[7777:20_000], complete=True)
    assert (await site.published(upload_id))[1] == CONTENT[:20_000]


async def test_parts_become_one_file(site: Site, gateway: Gateway, other: Gateway) -> None:
    cuts = (8 * MIB, 8 * MIB + 1)
    parts = []
    for start, end in zip((0, *cuts), (*cuts, len(CONTENT)), strict=True):
        parts.append(await gateway.create(end - start, partial=True))
        await gateway.append(parts[-1], 0, CONTENT[start:end])
    final = await other.services.concatenations.create(ME, NewStream(None), parts)
    assert (await site.published(final.upload.id))[1] == CONTENT


async def test_with_a_digest_a_body_over_several_parts_counts_whole(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    wanted = Append(0, declared={"md5": b"0" * 16})
    with pytest.raises(BodyIncomplete):
        await gateway.services.appends.append(ME, upload_id, wanted, Pieces(broken(CONTENT[: 10 * MIB])))
    assert (await gateway.look(upload_id)).offset == 0
    await gateway.append(upload_id, 0, CONTENT)
    assert (await site.published(upload_id))[1] == CONTENT


async def test_an_aborted_stream_leaves_nothing(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(None)
    await gateway.append(upload_id, 0, CONTENT[:10_000])
    await gateway.services.streams.abort(ME, upload_id)
    assert [key async for batch in site.rig.storage.uploads() for key in batch] == []  # type: ignore[attr-defined]
