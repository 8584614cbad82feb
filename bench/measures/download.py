"""Downloads of one large file, whole and in ranges, against nginx that serves the same bytes by sendfile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from bench import servers
from bench.forms import CHUNK, GIB, MIB
from bench.measures.contenders import DEFAULT, conditions, ours, rivals, rounds
from bench.measures.large import CPU
from bench.rivals.install import Missing
from bench.rows import FAILURES, Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting
from tests.fixtures.nginx import nginx as proxy

RATE = "MiB/s"
RANGE = 8 * MIB
WHOLE, WHOLE_4, RANGES = "whole, 1 connection", "whole, 4 connections", "ranges of 8 MiB, 4 connections"
NGINX = "nginx"
BEHIND = "Sluice behind nginx"


def measure(setting: Setting) -> Result:
    form = setting.form
    result = Result(
        conditions(
            f"{form.big // MIB} MiB from the page cache, {rounds(setting)}; what arrives is dropped by the kernel.",
            "nginx: one process, sendfile. Behind nginx: the gateway decides, nginx sends (`SLUICE_ACCEL_REDIRECT`).",
            "The rivals know no ranges, tuspyserver no downloads; tusd locks an upload for each of its readers.",
        )
    )
    folder = setting.subfolder("download")
    source = setting.source(form.big)
    root = setting.subfolder("download-root")
    os.link(source, root / "file.bin")
    starts = [
        *ours(folder, DEFAULT),
        (BEHIND, _behind_nginx(setting.subfolder("download-behind"))),
        (NGINX, servers.nginx(folder, root)),
        *rivals(folder),
    ]
    with setting.side_by_side(starts, result) as running:
        able = [server for server in running if server.rival is None or server.rival.downloads]
        places = {server.name: _place(setting, result, server, str(source)) for server in able}
        takes = []
        for label, connections, piece in ((WHOLE, 1, None), (WHOLE_4, 4, None), (RANGES, 4, RANGE)):
            asked = [one for one in able if places[one.name] and (piece is None or one.rival is None)]
            takes += [_take(setting, result, one, places[one.name], label, connections, piece) for one in asked]
        interleave(takes, form.rounds, result, setting.say)
    result.driver_cpu = setting.driver_load()
    return result


@contextmanager
def _behind_nginx(folder: Path) -> Iterator[Server]:
    """Our service behind the nginx of deploy/nginx, which sends the bytes of files itself."""
    with servers.ours(folder, BEHIND, SLUICE_DURABILITY="none", SLUICE_ACCEL_REDIRECT="/.sluice/") as server:
        known = set(psutil.Process().children())
        try:
            port = urlsplit(server.url).port
            assert port is not None
            with proxy([port], server.folder / "storage") as front:
                (started,) = (one for one in set(psutil.Process().children()) - known if one.name() == "nginx")
                yield Server(BEHIND, "native", front.url, {**server.pids, "nginx": started.pid}, server.folder)
        except pytest.skip.Exception as reason:
            raise Missing(str(reason)) from reason


def _place(setting: Setting, result: Result, server: Server, source: str) -> str:
    """Upload the file there; the path of the download, empty when that failed."""
    if server.speaks == "plain":
        return "/file.bin"
    call = {"native": "native.big", "tus": "tus.big"}[server.speaks]
    more = {"patch": server.rival.patch} if server.rival else {"chunk": CHUNK}
    try:
        return str(setting.call(call, url=server.url, path=source, connections=1, keep=True, **more).value["where"])
    except FAILURES as error:
        result.skipped[server.name] = f"the file could not be stored: {str(error)[:150]}"
        return ""


def _take(
    setting: Setting, result: Result, server: Server, where: str, label: str, connections: int, piece: int | None
) -> Take:
    given = {"url": server.url, "where": where, "size": setting.form.big, "connections": connections, "piece": piece}

    def run() -> None:
        before = sum(server.cpu().values())
        done = setting.call("plain.download", **given).value
        result.add(label, server.name, RATE, done["bytes"] / MIB / done["seconds"])
        result.add(label, server.name, CPU, (sum(server.cpu().values()) - before) / (done["bytes"] / GIB))

    return Take(f"{server.name}, {label}", run, 2 if server.rival and server.rival.slow else 1)
