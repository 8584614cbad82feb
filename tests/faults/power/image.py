"""An ext4 file system in a file, and the ioctl that takes its power away."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, include/uapi/linux/ext4.h
NO_LOG_FLUSH = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk by now never will be
IMAGE_BYTES = 256 * 1024 * 1024
BUSY_SECONDS = 10.0
TOOLS = ("mkfs.ext4", "mount", "umount")


def why_not(folder: Path) -> str | None:
    """Why this machine cannot do it, after one try in `folder`; None when it can."""
    if os.geteuid() != 0:
        return "power cuts need root: an ext4 image is mounted and shut down"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"power cuts need {', '.join(absent)}"
    try:
        with mounted(folder / "try") as image:
            image.cut()
    except (RuntimeError, OSError) as error:
        return f"power cuts need a file system that can be mounted from a file and shut down: {error}"
    return None


class Image:
    """A mounted image. `cut` may be called from any thread."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.folder = folder
        self._file = file

    def mount(self) -> None:
        """After a cut this replays the journal, as a machine does that comes back."""
        _run("mount", "-o", "loop", str(self._file), str(self.folder))

    def unmount(self) -> None:
        """The processes that had files open have been waited for; the kernel may need a moment more."""
        deadline = time.monotonic() + BUSY_SECONDS
        while self.folder.is_mount():
            try:
                _run("umount", str(self.folder))
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def cut(self) -> None:
        """Nothing reaches the disk from now on."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Everything written so far is durable: where a test begins."""
        _run("sync", "-f", str(self.folder))


@contextmanager
def mounted(folder: Path) -> Iterator[Image]:
    """A fresh file system for the block; unmounted and removed at its end whatever happened."""
    file, mount_point = folder / "image", folder / "mount"
    mount_point.mkdir(parents=True)
    with file.open("wb") as made:
        made.truncate(IMAGE_BYTES)
    _run("mkfs.ext4", "-q", "-F", str(file))
    image = Image(file, mount_point)
    image.mount()
    try:
        yield image
    finally:
        image.unmount()
        file.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
