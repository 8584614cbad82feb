"""Memory with many slow uploads at once: the gateway's, and the rivals'."""

from __future__ import annotations

from bench.forms import MIB
from bench.measures.contenders import DEFAULT, conditions, ours, rivals
from bench.rows import Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting

SIZE = 16 * MIB  # declared by each upload; only a small part of it comes
RSS = "MiB RSS at the peak"
IDLE = "none yet"


def measure(setting: Setting) -> Result:
    form = setting.form
    result = Result(
        conditions(
            f"Uploads of {SIZE // MIB} MiB, all open; each brings 16 KiB twenty times in {form.slow_seconds:g} s.",
            "RSS of the process that takes the bytes (ours: the gateway), the highest after each of the twenty.",
            "One run, not rounds; the numbers go up on the same process.",
        )
    )
    folder = setting.subfolder("memory")
    with setting.side_by_side([*ours(folder, DEFAULT), *rivals(folder)], result) as running:
        for server in running:
            result.add(IDLE, _name(server), RSS, sum(_taking(server).values()) / MIB)
        takes = [_take(setting, result, server, count) for count in form.slow for server in running]
        interleave(takes, 1, result, setting.say)
    setting.driver_load()
    return result


def case(count: int) -> str:
    return f"{count:,} slow upload{'s' * (count > 1)}"


def _name(server: Server) -> str:
    return "Sluice: gateway" if server.rival is None else server.name


def _taking(server: Server) -> dict[str, int]:
    return {part: size for part, size in server.rss().items() if server.rival or part.startswith("gateway")}


def _take(setting: Setting, result: Result, server: Server, count: int) -> Take:
    def run() -> None:
        pids = [server.pids[part] for part in _taking(server)]
        given = {"url": server.url, "speaks": server.speaks, "count": count, "size": SIZE, "pids": pids}
        done = setting.call("plain.slow", seconds=setting.form.slow_seconds, limit=120.0, **given).value
        note = f"{done['stuck']} not taken" if done["stuck"] else ""
        result.add(case(count), _name(server), RSS, done["peak"] / MIB, note)

    return Take(f"{server.name}, {case(count)}", run)
