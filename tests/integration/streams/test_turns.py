"""One request at a time on a stream, handed over within moments, in one gateway and between two."""

import asyncio
import time
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from common.appending import AppendLeases
from common.errors import AppendInterrupted, ChunkBusy, OffsetMismatch, SluiceError, UploadNotFound
from common.settings import RedisSettings, Settings
from common.signals import Signals
from common.tasks import cancelled
from gateway.service.caller import Caller
from gateway.service.turns import SILENCE
from tests.fixtures.redis import guarded_redis
from tests.integration.streams.site import ME, Gateway, Line, Site
from tests.integration.worker.rig import until

CONTENT = bytes(range(256)) * 100
LONG = 30.0  # seconds of silence after which a holder is overtaken, where it must not come to that
MOMENTS = 5.0  # seconds; 0.03 on an idle machine. Far less than any timeout that may play a part


@pytest.fixture
def nobody_is_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.service.turns.SILENCE", LONG)


@pytest.fixture(params=["same", "other"])
async def newcomer(request: pytest.FixtureRequest, site: Site, gateway: Gateway) -> Gateway:
    """Where the second request arrives: at the gateway of the first, or at another."""
    return gateway if request.param == "same" else await site.gateway()


async def stalled(gateway: Gateway, upload_id: str, content: bytes) -> tuple[asyncio.Task[object], Line]:
    """An append that has sent `content` and then nothing."""
    line = Line(content, stalls=True)
    appending: asyncio.Task[object] = asyncio.create_task(gateway.append(upload_id, 0, line))
    await line.sent.wait()
    return appending, line


def lease_key(site: Site, upload_id: str) -> str:
    return f"{site.settings.redis.redis_queue_prefix}:append:{ME.tenant}:{upload_id}"


@pytest.mark.usefixtures("nobody_is_overtaken")
async def test_who_looks_gets_the_offset_of_all_that_has_arrived(gateway: Gateway, newcomer: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    before, _ = await stalled(gateway, upload_id, CONTENT[:7777])
    began = time.monotonic()
    assert (await newcomer.look(upload_id)).offset == 7777
    assert time.monotonic() - began < MOMENTS
    with pytest.raises(AppendInterrupted):
        await before


async def test_the_newcomer_goes_on_where_the_one_before_was(site: Site, gateway: Gateway, newcomer: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    before, _ = await stalled(gateway, upload_id, CONTENT[:7777])
    assert (await newcomer.append(upload_id, 7777, CONTENT[7777:])).complete
    with pytest.raises(AppendInterrupted):
        await before
    assert (await site.published(upload_id))[1] == CONTENT


async def test_of_many_who_come_at_once_one_gets_it_at_a_time(site: Site, gateway: Gateway, other: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    before, _ = await stalled(gateway, upload_id, CONTENT[:7777])
    crowd = [each.append(upload_id, 7777, CONTENT[7777:]) for each in (gateway, other) * 3]
    outcomes = await asyncio.gather(before, *crowd, return_exceptions=True)
    kinds = {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)}
    assert kinds <= {AppendInterrupted, OffsetMismatch}
    offset = (await gateway.look(upload_id)).offset  # whoever was interrupted keeps the pieces that it has sent
    assert offset is not None
    if offset < len(CONTENT):
        assert (await gateway.append(upload_id, offset, CONTENT[offset:])).complete
    assert (await site.published(upload_id))[1] == CONTENT
    assert not any(each.services.turns._held for each in (gateway, other))


async def test_a_holder_that_is_dead_is_overtaken(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(100)
    async with Redis.from_url(site.settings.redis.redis_url) as redis:
        await redis.set(lease_key(site, upload_id), "of a killed process", ex=60)
    began = time.monotonic()
    assert (await gateway.append(upload_id, 0, b"x" * 100)).complete
    assert SILENCE <= time.monotonic() - began < SILENCE + MOMENTS


async def test_a_turn_that_is_over_leaves_nothing_in_redis(site: Site, gateway: Gateway) -> None:
    upload_id = await gateway.create(100)
    await gateway.append(upload_id, 0, b"x" * 10)
    async with Redis.from_url(site.settings.redis.redis_url) as redis:
        assert await redis.keys("*:append:*") == []


def without_redis(settings: Settings) -> Settings:
    """The same service, whose Redis is away."""
    away = settings.redis.model_copy(update={"redis_url": "redis://127.0.0.1:1/0", "redis_timeout": 0.2})
    waits = settings.storage.model_copy(update={"chunk_lock_wait": 0.2})
    return replace(settings, redis=away, storage=waits)


async def test_without_redis_two_appends_at_one_offset_do_no_harm(site: Site) -> None:
    one, other = [await site.gateway(without_redis(site.settings)) for _ in range(2)]
    upload_id = await one.create(len(CONTENT))
    before, line = await stalled(one, upload_id, CONTENT[:7777])
    with pytest.raises((OffsetMismatch, ChunkBusy)):
        await other.append(upload_id, 0, b"y" * 7777)
    line.end.set()
    await before
    done = await other.append(upload_id, 7777, CONTENT[7777:])
    await site.rig.ring(await site.rig.job(done.job_id or ""))  # in place of the sweep: the bell was away too
    assert (await site.published(upload_id))[1] == CONTENT


async def test_with_redis_emptied_two_appends_at_one_offset_do_no_harm(
    site: Site, gateway: Gateway, other: Gateway
) -> None:
    upload_id = await gateway.create(len(CONTENT))
    before, line = await stalled(gateway, upload_id, CONTENT[:7777])
    async with Redis.from_url(site.settings.redis.redis_url) as redis:
        await redis.flushall()
    second = asyncio.create_task(other.append(upload_id, 0, b"y" * 7777))
    await asyncio.wait([second], timeout=0.3)
    line.end.set()
    await before
    with pytest.raises(OffsetMismatch):
        await second
    await other.append(upload_id, 7777, CONTENT[7777:])
    assert (await site.published(upload_id))[1] == CONTENT


async def test_a_lease_that_lapsed_is_taken_back(site: Site, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is too busy to renew in time has lost nothing, unless somebody else wants the turn."""
    monkeypatch.setattr("gateway.service.turns.LEASE_SECONDS", 0.15)
    holder = await site.gateway()
    upload_id = await gateway.create(len(CONTENT))
    before, line = await stalled(holder, upload_id, CONTENT)
    async with Redis.from_url(site.settings.redis.redis_url) as redis:
        token = await redis.get(lease_key(site, upload_id))
        await redis.delete(lease_key(site, upload_id))

        async def is_back() -> bool:
            return bool(await redis.get(lease_key(site, upload_id)) == token)

        await until(is_back)
    line.end.set()
    assert (await before) is not None


async def test_whoever_lost_the_lease_lets_go(site: Site, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.service.turns.LEASE_SECONDS", 0.15)
    holder = await site.gateway()
    upload_id = await gateway.create(len(CONTENT))
    before, _ = await stalled(holder, upload_id, CONTENT[:7777])
    async with Redis.from_url(site.settings.redis.redis_url) as redis:
        await redis.set(lease_key(site, upload_id), "somebody else", px=500)
    with pytest.raises(AppendInterrupted):
        await before
    assert (await gateway.look(upload_id)).offset == 7777


async def test_the_lease_needs_no_more_rights_than_the_manifests_give() -> None:
    with guarded_redis() as guarded:
        settings = RedisSettings(redis_url=guarded.url)
        async with Redis.from_url(guarded.url) as redis:
            leases = AppendLeases(redis, settings)
            assert await leases.take("upload", "mine") == "mine"
            assert await leases.take("upload", "yours") == "mine"
            assert await leases.renew({"upload": "mine", "lapsed": "mine"}) == []
            assert await leases.take_over("upload", "yours", "mine") is True
            assert await leases.renew({"upload": "mine", "lapsed": "mine"}) == ["upload"]
            assert await leases.release("lapsed", "mine") is True
            assert await leases.release("upload", "mine") is False
            assert await leases.release("upload", "yours") is True
            signals, heard = Signals(redis, settings), asyncio.Queue[str]()
            signals.also(leases.channel, heard.put_nowait)
            listening = asyncio.create_task(signals.listen(lambda _: None))
            while heard.empty():
                await leases.ask("yours")
                await asyncio.wait([listening], timeout=0.02)
            await cancelled([listening], 2.0)
        assert guarded.refused() == []


@pytest.mark.usefixtures("nobody_is_overtaken")
async def test_an_error_gives_the_turn_back(gateway: Gateway, other: Gateway) -> None:
    upload_id = await gateway.create(100)
    for _ in range(3):
        for each in (gateway, other):
            with pytest.raises(SluiceError):
                await each.append(upload_id, 50, b"x")
    began = time.monotonic()
    await other.append(upload_id, 0, b"x" * 100)
    assert time.monotonic() - began < MOMENTS


async def test_a_server_that_ends_keeps_what_has_arrived(site: Site, other: Gateway) -> None:
    http = site.settings.http.model_copy(update={"drain_seconds": 0.2})
    leaving = await site.gateway(replace(site.settings, http=http))
    upload_id = await leaving.create(len(CONTENT))
    before, _ = await stalled(leaving, upload_id, CONTENT[:7777])
    leaving.services.drain()
    with pytest.raises(AppendInterrupted) as told:
        await before
    assert (told.value.status, told.value.retry_after) == (503, 1)
    assert (await other.look(upload_id)).offset == 7777


async def test_an_append_that_comes_to_its_end_in_time_is_not_cut_by_a_server_that_ends(site: Site) -> None:
    leaving = await site.gateway()
    upload_id = await leaving.create(len(CONTENT))
    before, line = await stalled(leaving, upload_id, CONTENT)
    leaving.services.drain()
    line.end.set()
    await before
    assert (await leaving.look(upload_id)).job_id is not None


async def test_another_tenant_interrupts_nobody(gateway: Gateway, newcomer: Gateway) -> None:
    upload_id = await gateway.create(len(CONTENT))
    before, line = await stalled(gateway, upload_id, CONTENT)
    stranger = Caller("other", "req-2")
    for call in (newcomer.services.streams.status, newcomer.services.streams.abort):
        with pytest.raises(UploadNotFound):
            await call(stranger, upload_id)
    line.end.set()
    assert (await before) is not None


@pytest.mark.parametrize("text", ["no-id-at-all", "../../etc", "a" * 5000])
async def test_no_text_of_a_client_becomes_a_key(site: Site, gateway: Gateway, text: str) -> None:
    async with Redis.from_url(site.settings.redis.redis_url) as redis, redis.monitor() as monitor:
        with pytest.raises(UploadNotFound):
            await gateway.look(text)
        await redis.ping()
        async for command in monitor.listen():
            assert text not in command["command"]
            if command["command"] == "PING":
                break
