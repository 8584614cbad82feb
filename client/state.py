"""What has to survive this process so that a later one can go on with an upload."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

_OURS = re.compile(r"[0-9a-f]{64}\.json|\.[0-9a-f]{64}\.[0-9a-f]{8}")
"""Names of states and of half-written ones; the folder may hold files of other people too."""


@dataclass(frozen=True)
class ResumeState:
    """One upload begun earlier. `upload_id` is None when the answer to the create request was never seen; the
    idempotency key then finds the upload again. `request` is what the create request asked for."""

    idempotency_key: str
    upload_id: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)


class StateStore(Protocol):
    """Where resume states are kept. Keys are hexadecimal text of 64 characters."""

    def load(self, key: str) -> ResumeState | None:
        """The state under this key; None when there is none or it cannot be read."""

    def save(self, key: str, state: ResumeState) -> None:
        """Keep the state; after the return it survives the process."""

    def delete(self, key: str) -> None:
        """Forget the state; unknown keys are fine."""


class FileStateStore:
    """One small JSON file per upload in a folder that only its owner can read; written whole or not at all."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def load(self, key: str) -> ResumeState | None:
        try:
            body = json.loads(self._path(key).read_bytes())
            return ResumeState(str(body["idempotency_key"]), body.get("upload_id"), dict(body.get("request") or {}))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            # A state that cannot be read costs a new upload; it must never stop one.
            return None

    def save(self, key: str, state: ResumeState) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(key)
        temporary = path.with_name(f".{key}.{secrets.token_hex(4)}")
        try:
            temporary.touch(mode=0o600, exist_ok=False)
            temporary.write_text(json.dumps(asdict(state), sort_keys=True), encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path(key).unlink()

    def prune(self, older_than: float) -> None:
        """Forget what was not touched for `older_than` seconds. What cannot be removed stays: that must never stop an
        upload."""
        latest = time.time() - older_than
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if _OURS.fullmatch(path.name) and path.lstat().st_mtime < latest:
                    path.unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def state_key(server: str, path: str | os.PathLike[str], size: int, mtime_ns: int) -> str:
    """The key of an upload: the same file (absolute path, bytes, modification time in ns) to the same server."""
    parts = [server.rstrip("/"), str(Path(path).resolve()), str(size), str(mtime_ns)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
