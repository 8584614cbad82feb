"""Where the time goes: py-spy on gateway and worker while a workload runs once more. Linux, ptrace permitted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from bench import servers
from bench.forms import CHUNK
from bench.measures.contenders import DEFAULT, OURS
from bench.rows import FAILURES
from bench.servers import Server
from bench.setting import Setting

LINES = 10  # of each profile
PARTS = ("gateway-1", "worker-1")
ROOMS = ("gateway/", "worker/", "common/")
EVENT_LOOP = "asyncio/runners.py"  # uvloop has no Python frames of its own
# Threads that wait for work: py-spy does not always see that they sleep.
WAITING = {
    ("_worker", "concurrent/futures/thread.py"),
    ("_connection_worker_thread", "aiosqlite/core.py"),
    ("wait", "threading.py"),
    ("Condition.wait", "threading.py"),
}
RATE = 100  # samples per second
OF = {"large": "large files over 4 connections", "small": "64 KiB files over 16 connections"}


def profiles(workload: str, setting: Setting) -> dict[str, list[str]]:
    """Lines of a profile by process, for the workloads that have one. Empty where py-spy is not, or may not."""
    program = Path(sys.executable).with_name("py-spy")
    if workload not in OF or not program.exists():
        return {}
    setting.say("a profile")
    try:
        with servers.ours(setting.subfolder("profile"), DEFAULT, **OURS[DEFAULT]) as server:
            return _record(str(program), setting, server, workload)
    except FAILURES as error:
        setting.say(f"no profile: {error}")
        return {}


def _record(program: str, setting: Setting, server: Server, workload: str) -> dict[str, list[str]]:
    seconds, folder = setting.form.profile_seconds, setting.folder
    _work(setting, server, workload)  # warm
    recording = {}
    for part in PARTS:
        out = folder / f"{part}.raw"
        command = [program, "record", "--format", "raw", "--rate", str(RATE), "--function", "--nonblocking"]
        command += ["--duration", str(seconds), "--pid", str(server.pids[part]), "--output", str(out)]
        recording[part] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), out
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _work(setting, server, workload)
    found = {}
    for part, (process, out) in recording.items():
        process.wait(seconds + 60)
        if out.exists():
            found[f"{part.removesuffix('-1')}, {OF[workload]}"] = summary(out.read_text(), seconds)
    return found


def _work(setting: Setting, server: Server, workload: str) -> None:
    if workload == "large":
        source = setting.source(setting.form.big)
        setting.call("native.big", url=server.url, path=str(source), connections=4, chunk=CHUNK)
    else:
        setting.call("native.small", url=server.url, size=64 * 1024, count=200, connections=16)


def summary(raw: str, seconds: float) -> list[str]:
    """The functions of ours in which a process was found most often: lines of `% of a core | where`.

    One line of `raw` is a stack, outermost first and joined by `;`, and how often it was seen. It counts for the
    innermost function of ours in it, with the library that was at work below; without one for the library's.
    """
    own: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if count.isdigit() and _frame(frames[-1]) not in WAITING:
            own[_place(frames)] += int(count)
    whole = 100 / (seconds * RATE)
    return [f"{count * whole:.0f} % | {where}" for where, count in own.most_common(LINES)]


def _place(stack: list[str]) -> str:
    name, path = _frame(stack[-1])
    if path == EVENT_LOOP:
        return "the event loop itself: C code, and waiting"
    for frame in reversed(stack):
        our_name, our_path = _frame(frame)
        if our_path.startswith(ROOMS):
            below = "" if our_path == path else f", in {path.split('/')[0]}"
            return f"`{our_name}` of {our_path}{below}"
    return f"`{name}` of {path}"


def _frame(frame: str) -> tuple[str, str]:
    """Name and module of `name (path/of/module.py:12)`."""
    name, _, path = frame.partition(" (")
    return name, path.rstrip(")").split(":")[0]
