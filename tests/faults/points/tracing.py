"""Faults by strace: count the file-system calls of a role, then make the n-th one fail or the last one.

strace counts for each system call and each thread by itself; the roles make all storage calls in one thread and all
calls of SQLite in another. So a point is (system call, number), and all of them together are every call.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.storage.layout import UploadPaths
from tests.faults.points import script
from tests.faults.points.nursery import Nursery

Kind = Literal["kill", "EIO", "ENOSPC", "lost"]
Place = Literal["storage", "database"]

POSITIONED = ("pwritev", "pwritev2")  # which of the two depends on the C library
# A kill before a call that changes nothing leaves what the kill before the next one leaves.
COPYING = (*POSITIONED, "copy_file_range")
CHANGING = ("openat", "mkdir", "rename", "unlink", "rmdir", "ftruncate", *COPYING, "write", "fdatasync", "fsync",
            "utimensat", "fchmod", "chmod")  # fmt: skip
CALLS: dict[Place, dict[Kind, tuple[str, ...]]] = {
    "storage": {
        "kill": CHANGING,
        "EIO": (*CHANGING, "flock", "newfstatat", "getdents64"),
        "ENOSPC": (*COPYING, "write", "mkdir", "ftruncate", "openat", "rename"),
        "lost": (*COPYING, "write"),  # the call says that it has written a part, and nothing was written
    },
    "database": {
        "kill": ("pwrite64", "fdatasync", "ftruncate"),
        "EIO": ("fdatasync", "pwrite64"),
        "ENOSPC": ("pwrite64",),
    },
}
EFFECTS: dict[Kind, str] = {
    "kill": "signal=SIGKILL",
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "lost": "retval=16",
}
TRACED = sorted({call for kinds in CALLS.values() for calls in kinds.values() for call in calls})
LINE = re.compile(r"^(\d+) +(\w+)\(")
END_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th `call` (from 1) of the traced role, and what happens to it."""

    kind: Kind
    place: Place
    call: str
    number: int


@dataclass(frozen=True, slots=True)
class Traced:
    """How a traced role ended: its exit status, its calls, and whether the fault met one."""

    status: int
    calls: Counter[str]
    struck: bool


def paths_of(folder: Path, place: Place) -> list[Path]:
    """Everything that the scripted upload touches: strace takes whole paths only."""
    if place == "database":
        return [folder / f"sluice.db{suffix}" for suffix in ("", "-wal", "-shm")]
    upload, file = script.upload_folder(folder), script.file_path(folder)
    logs = [f"receipts-{role}-{n}" for role in ("store", "seal") for n in range(4)]
    names = ["data", "locks", "sealing", *(f"{log}.log" for log in logs), *(f"{log}.tmp" for log in logs)]
    dying = upload.with_name(f".dying-{upload.name}")
    paths = UploadPaths(upload)
    folders = [*reversed(upload.parents[:4]), upload, dying, paths.coming, paths.whole, *file.parents[:2], file]
    return [*folders, *(upload / name for name in names), *(dying / name for name in names)]


def traced(nursery: Nursery, role: str, folder: Path, place: Place, point: Point | None, **arguments: Any) -> Traced:
    """Run a role under strace, with the fault of `point` or with none."""
    output = folder / "trace"
    command = ["strace", "-f", "-q", "-o", str(output), "-e", f"trace={','.join(TRACED)}", "-e", "signal=none"]
    command += [part for path in paths_of(folder, place) for part in ("-P", str(path))]
    if point is not None:
        command += ["-e", f"inject={point.call}:{EFFECTS[point.kind]}:when={point.number}"]
    pid = nursery.start(role, folder, traced=True, **arguments)
    with subprocess.Popen([*command, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as strace:
        status = nursery.wait(pid)
        strace.wait(END_SECONDS)
    lines = output.read_text(errors="replace").splitlines()
    found = [match.groups() for line in lines if (match := LINE.match(line))]
    # after a kill strace shows an unfinished call once more, as another thread's
    assert point is not None or len({thread for thread, _ in found}) == 1, "the calls of two threads cannot be counted"
    calls = Counter(call for _, call in found)
    struck = status == -signal.SIGKILL or any("INJECTED" in line for line in lines)
    return Traced(status, calls, struck)


def points(counted: dict[Place, Counter[str]]) -> list[Point]:
    """Every point of a role whose calls were counted; of each call one more, which must not be met any more."""
    return [
        Point(kind, place, call, number)
        for place, calls in counted.items()
        for kind, names in CALLS[place].items()
        for call in names
        for number in range(1, calls[call] + 1)
    ]
