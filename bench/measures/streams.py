"""One large file in one request by tus and by the IETF draft, beside our chunks over one connection."""

from __future__ import annotations

from pathlib import Path

from bench.forms import CHUNK, MIB
from bench.measures.contenders import DEFAULT, RECEIPTS, ours
from bench.measures.large import CPU, READY, RECEIVED
from bench.rows import Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting

CHUNKS = "chunks, one connection"
STREAMS = {"tus": "tus, one request", "draft": "draft, one request"}


def measure(setting: Setting) -> Result:
    form = setting.form
    result = Result(
        [
            "`sluice up`, 1 gateway, 1 worker, Redis, SQLite; fsync off.",
            f"{form.big // MIB} MiB of random bytes; chunks of {CHUNK // MIB} MiB; streams in a single request.",
            f"{form.rounds} interleaved rounds, medians; one driver for all, over loopback.",
        ]
    )
    source = setting.source(form.big)
    setting.warm(2 * form.big)
    with setting.side_by_side(ours(setting.subfolder("streams"), DEFAULT, RECEIPTS), result) as running:
        takes = [_take(setting, result, server, source, who) for server in running for who in (CHUNKS, *STREAMS)]
        interleave(takes, form.rounds, result, setting.say)
    result.driver_cpu = setting.driver_load()
    return result


def _take(setting: Setting, result: Result, server: Server, source: Path, who: str) -> Take:
    size, label = source.stat().st_size, STREAMS.get(who, who)

    def run() -> None:
        before = server.cpu()["gateway-1"]
        if who == CHUNKS:
            done = setting.call("native.big", url=server.url, path=str(source), connections=1, chunk=CHUNK).value
        else:
            done = setting.call("streams.big", url=server.url, path=str(source), protocol=who).value
        result.add(server.name, label, RECEIVED, size / MIB / done["receive"])
        result.add(server.name, label, READY, size / MIB / done["ready"])
        result.add(server.name, label, CPU, (server.cpu()["gateway-1"] - before) / (size / 1024 / MIB))

    return Take(f"{label}, {server.name}", run)
