"""One large file, from the first request until it can be downloaded; and the CPU seconds that each process spends."""

from __future__ import annotations

import hashlib
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from bench import servers
from bench.forms import CHUNK, GIB, MIB
from bench.measures.contenders import BARE, BY_TUS, COPY, DEFAULT, conditions, ours, rivals, rounds
from bench.rows import Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting

READY, RECEIVED, HASHED, CPU = "MiB/s until downloadable", "MiB/s received", "MiB/s hashed", "CPU s/GiB"
AFTER = "ms from the last chunk until downloadable"
HASHLIB = "hashlib"


def measure(setting: Setting) -> Result:
    form = setting.form
    result = Result(
        conditions(f"{form.big // MIB} MiB of random bytes, {rounds(setting)}; ours in chunks of {CHUNK // MIB} MiB.")
    )
    source, folder = setting.source(form.big), setting.subfolder("large")
    setting.warm(2 * form.big)
    starts = [*ours(folder), (BARE, servers.bare(folder)), *rivals(folder)]
    with setting.side_by_side(starts, result) as running:
        takes = [_copy(result, source, folder), _hash(result, source)]
        standing = [*running, *(_by_tus(server) for server in running if server.name == DEFAULT)]
        for connections in form.connections:
            takes += [take for server in standing if (take := _take(setting, result, server, source, connections))]
        interleave(takes, form.rounds, result, setting.say)
    _one_stream(result, running, form.connections)
    result.driver_cpu = setting.driver_load()
    return result


def _by_tus(server: Server) -> Server:
    """The same processes by another protocol."""
    return replace(server, name=BY_TUS, speaks="tus", url=f"{server.url}/tus")


def case(connections: int) -> str:
    return f"{connections} connection{'s' * (connections > 1)}"


def _take(setting: Setting, result: Result, server: Server, source: Path, connections: int) -> Take | None:
    """One upload. A rival that takes no parallel parts is measured on one connection only."""
    kind = server.rival
    if kind is not None and connections > 1 and not kind.parallel:
        return None
    call = {"native": "native.big", "plain": "plain.dropped", "tus": "tus.big"}[server.speaks]
    more = {"patch": kind.patch} if kind else {"job": True} if server.speaks == "tus" else {"chunk": CHUNK}
    size = source.stat().st_size
    label = case(connections)

    def run() -> None:
        before = server.cpu()
        done = setting.call(call, url=server.url, path=str(source), connections=connections, **more).value
        after = server.cpu()
        if server.speaks != "plain":
            result.add(label, server.name, READY, size / MIB / done["ready"])
        if kind is None:
            result.add(label, server.name, RECEIVED, size / MIB / done["receive"])
        if server.speaks == "native":
            result.add(label, server.name, AFTER, done["finalize"] * 1000)
        for part in after:
            who = server.name if len(after) == 1 else f"{server.name}: {part.removesuffix('-1')}"
            result.add(label, who, CPU, (after[part] - before[part]) / (size / GIB))

    return Take(f"{server.name} over {label}", run, 2 if kind and kind.slow else 1)


def _copy(result: Result, source: Path, folder: Path) -> Take:
    """The same bytes by `cp`, then `sha256sum` over the copy: what the machine can do without a network."""

    def run() -> None:
        copy = folder / "copy.bin"
        began = time.perf_counter()
        subprocess.run(["cp", "--reflink=never", str(source), str(copy)], check=True)
        subprocess.run(["sha256sum", str(copy)], check=True, capture_output=True)
        result.add(case(1), COPY, READY, source.stat().st_size / MIB / (time.perf_counter() - began))
        copy.unlink()

    return Take(COPY, run)


def _hash(result: Result, source: Path) -> Take:
    def run() -> None:
        result.add("the file", HASHLIB, HASHED, source.stat().st_size / MIB / hash_seconds(source))

    return Take(HASHLIB, run)


def hash_seconds(path: Path) -> float:
    """Seconds for hashlib's SHA-256 over a file, in 1 MiB reads."""
    buffer, digest = bytearray(MIB), hashlib.sha256()
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return time.perf_counter() - began


def _one_stream(result: Result, running: list[Server], connections: tuple[int, ...]) -> None:
    """A rival's fastest way: where parallel parts are slower than one stream, or are not offered, one stream counts."""
    for server in running:
        kind, one = server.rival, result.find(case(1), server.name, READY)
        if kind is None or one is None or not one.values:
            continue
        for number in connections[1:]:
            row = result.row(case(number), server.name, READY)
            if not kind.parallel:
                row.values, row.note = list(one.values), "one stream: it takes no parallel parts"
            elif not row.values or row.median < one.median:
                parts = f"parallel parts reach {row.median:.0f}" if row.values else "parallel parts fail"
                row.values, row.note = list(one.values), f"one stream: {parts}"
            else:
                row.note = "parallel parts, joined"
