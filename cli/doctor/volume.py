"""A storage on a disk or a shared volume: is it there, writable, big enough, and do its locks lock?"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cli.doctor.examination import UNKNOWN, Case, in_thread, learn
from cli.doctor.mounts import mount_of
from cli.doctor.report import Report
from common.storage.identity import Identity
from common.storage.locks import RangeLocks, take_alone

SLOW_SYNC = 0.2  # seconds; every chunk waits for two of them
SPARSE = 64 * 1024**2  # bytes
BETTER = "use a file system with working locks (NFS: version 4)"
FEW_FILES = 10_000  # inodes left


async def check(case: Case, report: Report) -> None:
    root = Path(case.settings.storage.storage_url.removeprefix("file://"))
    try:
        if not await in_thread(partial(_there, report, root)):
            return
        learn(case.borne, await in_thread(Identity(root).read))
        await in_thread(partial(_place, report, root))
        await in_thread(partial(_space, report, root, case.settings.storage.min_free_bytes))
        await in_thread(partial(_writing, report, root))
    finally:
        learn(case.borne, UNKNOWN)


def _there(report: Report, root: Path) -> bool:
    if root.is_dir():
        return True
    if root.exists():
        report.fail("storage.reachable", f"{root} is not a folder", "put SLUICE_STORAGE_URL right")
    else:
        do = "make it (`sluice up` does), mount the volume, or put SLUICE_STORAGE_URL right"
        report.fail("storage.reachable", f"{root} is not there", do)
    return False


def _place(report: Report, root: Path) -> None:
    mount = mount_of(root)
    if mount is None:
        report.ok("storage.reachable", f"{root}, on a file system that is not known")
        return
    report.ok("storage.reachable", f"{root}, on {mount.kind}")
    for worry in mount.worries():
        what, _, do = worry.partition(": ")
        report.warn("storage.file_system", what, do)


def _space(report: Report, root: Path, reserve: int) -> None:
    state = os.statvfs(root)
    free = state.f_bavail * state.f_frsize
    said = f"{free // 1024**2} MiB are free, {reserve // 1024**2} MiB must stay (SLUICE_MIN_FREE_BYTES)"
    if free < reserve:
        report.fail("storage.space", said, "make room, or enlarge the volume: writes answer 507")
    elif free < 10 * reserve:
        report.warn("storage.space", said, "make room before it is full")
    else:
        report.ok("storage.space", said)
    if state.f_files > 0 and state.f_favail < FEW_FILES:
        report.warn("storage.files", f"room for {state.f_favail} more files", "an upload needs about six: make room")


def _writing(report: Report, root: Path) -> None:
    try:
        with _scratch(root) as path:
            _write(report, path)
            _locks(report, path)
            _sparse(report, path)
    except OSError as error:
        do = "give the folder to the user of the service; see whether the file system is mounted read-only"
        report.fail("storage.writable", f"{root}: {error.strerror}", do)


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    path = root / f".sluice-doctor-{secrets.token_hex(6)}"
    path.touch(mode=0o600, exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _write(report: Report, path: Path) -> None:
    began = time.monotonic()
    with path.open("r+b") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
    took = time.monotonic() - began
    if path.read_bytes() != b"x" * 4096:
        report.fail("storage.writable", "it gives back other bytes than it took", "do not use this disk")
    elif took > SLOW_SYNC:
        report.warn(
            "storage.writable", f"an fsync takes {1000 * took:.0f} ms", "look at the disk: each chunk waits for two"
        )
    else:
        report.ok("storage.writable", f"written and read; fsync took {1000 * took:.0f} ms")


def _locks(report: Report, path: Path) -> None:
    with path.open("r+b") as one, path.open("r+b") as other:
        try:
            locked = take_alone(one.fileno()) and not take_alone(other.fileno())
        except OSError as error:
            report.fail("storage.locks", f"no flock: {error.strerror}", BETTER)
            return
        fcntl.flock(one.fileno(), fcntl.LOCK_UN)
        if not locked:
            report.fail("storage.locks", "two had the same flock alone", BETTER)
            return
        alone = [RangeLocks().take(file.fileno(), 0, 1) for file in (one, other)]
    if None not in alone:
        report.warn(
            "storage.locks",
            "no locks of byte ranges",
            "fine on one machine; on several, two that write one chunk at once end as a damaged chunk",
        )
        return
    report.ok("storage.locks", "locks keep others away, as far as one machine can tell")


def _sparse(report: Report, path: Path) -> None:
    os.truncate(path, SPARSE)
    if path.stat().st_blocks * 512 > SPARSE // 2:
        report.warn("storage.sparse", "the file system writes holes out", "an upload takes its whole size at once")
