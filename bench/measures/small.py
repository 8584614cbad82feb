"""Small files over 16 connections, until the last of them is ready."""

from __future__ import annotations

from bench.forms import MIB
from bench.measures.contenders import DEFAULT, SAFE, conditions, ours, rivals, rounds
from bench.rows import Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting

CONNECTIONS = 16
RATE = "files/s until ready"
ONE_REQUEST = ", in one request"


def measure(setting: Setting) -> Result:
    form = setting.form
    counts = ", ".join(f"{count} files of {size_name(size)}" for size, count in form.small)
    result = Result(
        conditions(
            f"{counts} over {CONNECTIONS} connections, {rounds(setting)}; a fifth of them for a row with a star.",
            "Ours: one `POST /v1/files` each, then every job is polled. Rivals: create and append, or both at once.",
        )
    )
    folder = setting.subfolder("small")
    setting.warm(256 * MIB)
    with setting.side_by_side([*ours(folder, DEFAULT, SAFE), *rivals(folder)], result) as running:
        takes = []
        for size, count in form.small:
            for server in running:
                takes += _takes(setting, result, server, size, count)
        interleave(takes, form.rounds, result, setting.say)
    result.driver_cpu = setting.driver_load()
    return result


def size_name(size: int) -> str:
    return f"{size // 1024} KiB"


def _takes(setting: Setting, result: Result, server: Server, size: int, count: int) -> list[Take]:
    kind, label = server.rival, f"files of {size_name(size)}"
    few = count // 5 if kind and kind.slow else count
    note = "*" if few < count else ""

    def run(together: bool) -> None:
        who = server.name + ONE_REQUEST * together
        call, more = ("native.small", {}) if kind is None else ("tus.small", {"together": together})
        done = setting.call(call, url=server.url, size=size, count=few, connections=CONNECTIONS, **more).value
        result.add(label, who, RATE, few / done["ready"], note)

    name = f"{server.name}, {label}"
    takes = [Take(name, lambda: run(False), 2 if kind and kind.slow else 1)]
    if kind and kind.together:
        takes.append(Take(name + ONE_REQUEST, lambda: run(True)))
    return takes
