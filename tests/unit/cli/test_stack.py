"""What the parts of an embedded stack are given."""

import asyncio
import os
import site
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cli.listener import listen
from cli.stack import CHECKOUT, Stack, parts_environment, reasons_in, worker_unready
from common.settings import load_settings

DATA = Path("/srv/my data")


def environment(**inherited: str) -> dict[str, str]:
    return parts_environment(inherited, DATA, redis_url="unix:///run/redis.sock?db=0", on_terminal=False)


@pytest.fixture
def stack() -> Iterator[Stack]:
    env = environment(SLUICE_SHUTDOWN_DELAY="2", SLUICE_DRAIN_SECONDS="3", SLUICE_WORKER_DRAIN_SECONDS="7")
    with listen("127.0.0.1", 0) as one, listen("127.0.0.1", 0) as two:
        one.setblocking(False)
        two.setblocking(False)
        yield Stack(DATA, DATA / "run", "http://127.0.0.1:1", 5, [one, two], 3, env, load_settings(environ=env))


def test_the_defaults_point_into_the_data_folder() -> None:
    env = environment()
    assert env["SLUICE_DATABASE_URL"] == "sqlite:////srv/my data/sluice.db"
    assert env["SLUICE_STORAGE_URL"] == "file:///srv/my%20data/storage"
    assert env["SLUICE_REDIS_URL"] == "unix:///run/redis.sock?db=0"


def test_what_is_inherited_wins() -> None:
    env = environment(SLUICE_DATABASE_URL="postgresql://db/sluice", SLUICE_VERIFY="receipts")
    assert env["SLUICE_DATABASE_URL"] == "postgresql://db/sluice"
    assert env["SLUICE_VERIFY"] == "receipts"


def test_logs_are_for_people_on_a_terminal_only() -> None:
    assert "SLUICE_LOG_FORMAT" not in environment()
    shown = parts_environment({}, DATA, redis_url=None, on_terminal=True)
    assert shown["SLUICE_LOG_FORMAT"] == "console"


def test_a_redis_that_was_brought_along_is_kept() -> None:
    env = parts_environment({"SLUICE_REDIS_URL": "redis://cache"}, DATA, redis_url=None, on_terminal=False)
    assert env["SLUICE_REDIS_URL"] == "redis://cache"


@pytest.mark.skipif(str(CHECKOUT) in site.getsitepackages(), reason="runs from an installed package")
def test_a_checkout_is_importable_in_the_parts() -> None:
    assert environment(PYTHONPATH="/mine")["PYTHONPATH"].split(os.pathsep) == [str(CHECKOUT), "/mine"]


def test_the_settings_understand_the_defaults() -> None:
    settings = load_settings(environ=environment())
    assert settings.redis.redis_url == "unix:///run/redis.sock?db=0"


def test_there_are_as_many_parts_as_asked_for(stack: Stack) -> None:
    names = [part.name for part in stack.service_parts()]
    assert names == ["gateway-1", "gateway-2", "worker-1", "worker-2", "worker-3"]


def test_every_gateway_gets_the_listening_socket_and_no_worker_does(stack: Stack) -> None:
    sockets = {part.name[:-2]: part.pass_fds[:1] for part in stack.service_parts()}
    assert sockets == {"gateway": (5,), "worker": ()}


async def test_each_gateway_has_a_socket_of_its_own_on_which_it_is_asked(stack: Stack) -> None:
    asked = []
    for part, probe in zip(stack.service_parts(), stack.probes, strict=False):
        assert probe.fileno() in part.pass_fds
        assert part.alive is not None
        asking = asyncio.ensure_future(part.alive())
        connection, _ = await asyncio.get_running_loop().sock_accept(probe)
        with connection:
            asked.append((await asyncio.get_running_loop().sock_recv(connection, 1000)).split()[1])
        assert await asking == "does not answer"
    assert asked == [b"/livez", b"/livez"]


def test_a_part_has_its_delay_its_drain_time_and_a_margin_to_stop(stack: Stack) -> None:
    bounds = {part.name[:-2]: part.stop_seconds for part in stack.service_parts()}
    assert bounds == {"gateway": 10, "worker": 32}


def test_gateways_stop_before_workers(stack: Stack) -> None:
    order = {part.name[:-2]: part.stop_order for part in stack.service_parts()}
    assert order["gateway"] < order["worker"]


def test_each_worker_has_a_health_port_of_its_own(stack: Stack) -> None:
    workers = stack.service_parts()[2:]
    assert {worker.env["SLUICE_HEALTH_PORT"] for worker in workers} == {"0"}
    assert len({worker.env["SLUICE_HEALTH_PORT_FILE"] for worker in workers}) == 3


def test_a_health_port_that_was_chosen_is_kept(stack: Stack) -> None:
    chosen = replace(stack, env={**stack.env, "SLUICE_HEALTH_PORT": "9000"})
    assert chosen.service_parts()[-1].env["SLUICE_HEALTH_PORT"] == "9000"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"status":"unavailable","reasons":["starting","redis does not answer"]}', "starting, redis does not answer"),
        (b"<html>", "<html>"),
        (b"[]", "[]"),
        (b'{"reasons":null}', '{"reasons":null}'),
    ],
)
def test_what_is_in_the_way_of_a_part_is_told_in_its_words(body: bytes, said: str) -> None:
    assert reasons_in(httpx.Response(503, content=body)) == said


@pytest.mark.parametrize("text", [None, "", "not a port"])
async def test_a_worker_without_a_port_is_not_ready(tmp_path: Path, text: str | None) -> None:
    port_file = tmp_path / "worker-1.port"
    if text is not None:
        port_file.write_text(text)
    assert await worker_unready(port_file) == "no health port yet"


async def test_a_worker_that_does_not_answer_is_not_ready(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        (tmp_path / "worker-1.port").write_text(str(nobody.getsockname()[1]))
        assert await worker_unready(tmp_path / "worker-1.port") == "does not answer"
