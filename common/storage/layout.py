"""Where things lie below the root of a local storage. Pure: builds paths, touches nothing.

ROOT/<tenant>/uploads/<upload_id>/data              the bytes, in place, sparse
ROOT/<tenant>/uploads/<upload_id>/locks             carries the range locks of writers; empty; made last by `begin`
ROOT/<tenant>/uploads/<upload_id>/receipts-*.log    one journal of each process that wrote (`records`)
ROOT/<tenant>/uploads/<upload_id>/sealing           no chunks any more; empty (`sealmark`)
ROOT/<tenant>/uploads/<upload_id>.whole             an upload that came in one request (`onefile`)
ROOT/<tenant>/uploads/<upload_id>.coming            the same while it is written
ROOT/<tenant>/uploads/.dying-<upload_id>            an aborted upload that is being removed
ROOT/<tenant>/files/<last two of file_id>/<file_id> a published file
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from common.storage.base import ObjectKey, UploadKey

_ID = re.compile(r"[0-9a-z-]{1,64}")
DYING = ".dying-"
WHOLE = ".whole"
COMING = ".coming"


@dataclass(frozen=True, slots=True)
class UploadPaths:
    """The paths of one upload."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def locks(self) -> Path:
        return self.folder / "locks"

    @property
    def sealing(self) -> Path:
        return self.folder / "sealing"

    @property
    def whole(self) -> Path:
        return self.folder.with_name(self.folder.name + WHOLE)

    @property
    def coming(self) -> Path:
        return self.folder.with_name(self.folder.name + COMING)

    @property
    def dying(self) -> Path:
        return self.folder.with_name(f"{DYING}{self.folder.name}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below `root`. Raises ValueError for a key that is not made of ids: such a path is never built."""

    root: Path

    def upload(self, key: UploadKey) -> UploadPaths:
        return UploadPaths(self.root / _checked(key.tenant) / "uploads" / _checked(key.upload_id))

    def file(self, key: ObjectKey) -> Path:
        file_id = _checked(key.file_id)
        # The end of a UUIDv7 is random, its beginning is the time: the end spreads files over the folders.
        return self.root / _checked(key.tenant) / "files" / file_id[-2:] / file_id


def is_plain_id(name: str) -> bool:
    """Whether a name can be one of ours."""
    return _ID.fullmatch(name) is not None


def _checked(part: str) -> str:
    if not is_plain_id(part):
        raise ValueError(f"not an id: {part[:80]!r}")
    return part
