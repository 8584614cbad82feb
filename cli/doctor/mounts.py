"""On which file system a path is, and what is known to go wrong there. Linux only; elsewhere nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p"})
PASSING = {"tmpfs": "gone after a restart", "ramfs": "gone after a restart", "overlay": "gone with the container"}


@dataclass(frozen=True, slots=True)
class Mount:
    """`kind` as the kernel calls it; `options` of the mount and of its file system together."""

    point: Path
    kind: str
    options: frozenset[str]

    def worries(self) -> list[str]:
        """What an operator should know, in words."""
        found = []
        if self.kind in PASSING:
            found.append(f"{self.kind} is {PASSING[self.kind]}: mount a volume there")
        if self.kind in ("nfs", "nfs4"):
            found += self._of_nfs()
        return found

    def _of_nfs(self) -> list[str]:
        found = []
        if "nolock" in self.options or self._value("local_lock") not in ("", "none"):
            found.append("its locks do not reach other machines: mount without nolock and local_lock")
        if self.kind == "nfs" or self._value("vers").startswith(("2", "3")):
            found.append("NFS below version 4 has no reliable locks: mount with vers=4.1 or newer")
        if "soft" in self.options or "softerr" in self.options:
            found.append("a soft mount reports writes as failed that were made: mount with hard")
        return found

    def _value(self, name: str) -> str:
        return next((option.partition("=")[2] for option in self.options if option.startswith(f"{name}=")), "")


def mount_of(path: Path, told: str | None = None) -> Mount | None:
    """The mount that `path` is on, by what the kernel tells (`told`: the text of its table); None if unknown."""
    if told is None:
        try:
            told = MOUNTS.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    path = path.absolute()
    found: Mount | None = None
    for mount in map(_parse, told.splitlines()):
        on_it = mount is not None and path.is_relative_to(mount.point)
        # of two at the same place the later one covers the other
        if mount is not None and on_it and (found is None or len(mount.point.parts) >= len(found.point.parts)):
            found = mount
    return found


def _parse(line: str) -> Mount | None:
    """proc(5): id parent major:minor root POINT OPTIONS [tags...] - KIND source SUPER_OPTIONS."""
    before, separator, after = line.partition(" - ")
    words, more = before.split(" "), after.split(" ")
    if not separator or len(words) < 6 or len(more) < 3:
        return None
    point = words[4].encode().decode("unicode_escape")  # blanks are \040
    return Mount(Path(point), more[0], frozenset({*words[5].split(","), *more[2].split(",")}))
