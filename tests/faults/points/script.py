"""The scripted upload of the fault suite: what is sent, which ids it gets, where it lies, what the client was told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from common.settings import Settings, load_settings
from common.storage.base import ObjectKey, UploadKey
from common.storage.layout import Layout

TENANT = "default"
CHUNK = 96 * 1024  # with batches of 64 KiB, the smallest there are, a chunk takes two writes
SIZE = 2 * CHUNK + 50_000
CONTENT = Random(3).randbytes(SIZE)
CHUNK_COUNT = 3

UPLOAD_ID = "01890000-0000-7000-8000-00000000a001"
JOB_ID = "01890000-0000-7000-8000-00000000b001"
FILE_ID = "01890000-0000-7000-8000-00000000f001"


def piece(index: int) -> bytes:
    """The bytes of one chunk."""
    return CONTENT[index * CHUNK : (index + 1) * CHUNK]


def settings_of(folder: Path, **variables: str) -> Settings:
    """Settings of all processes of one point: database and storage in `folder`, a Redis that is never there."""
    return load_settings(environ=environment_of(folder, **variables))


def environment_of(folder: Path, **variables: str) -> dict[str, str]:
    """The same as variables; keyword arguments come first."""
    defaults = {
        "DATABASE_URL": f"sqlite:///{folder / 'sluice.db'}",
        "DATABASE_POOL_SIZE": "1",  # one thread makes all calls of SQLite: strace counts for each thread
        "DATABASE_TIMEOUT": "10",
        "STORAGE_URL": storage_root(folder).as_uri(),
        "REDIS_URL": f"unix://{folder / 'no-redis'}?db=0",
        "MIN_FREE_BYTES": "0",
        "INTAKE_BUFFER": str(64 * 1024),
        "HEALTH_PORT": "0",
        "LOG_LEVEL": "warning",
    }
    return {f"SLUICE_{name}": value for name, value in {**defaults, **variables}.items()}


def new_ids(*first: str) -> Iterator[str]:
    """The given ids, then others: the paths of the first attempt are known before it is made."""
    yield from first
    for number in count(int.from_bytes(os.urandom(4), "big")):
        yield f"01890000-0000-7000-9000-{number:012x}"


def new_part_ids() -> list[str]:
    """For two uploads, and where each would be sealed to."""
    return [f"01890000-0000-7000-8000-00000000c00{number}" for number in range(4)]


def storage_root(folder: Path) -> Path:
    """Not beside the database: the folder above it belongs to the storage's calls alone."""
    return folder / "disk" / "storage"


def upload_folder(folder: Path, upload_id: str = UPLOAD_ID) -> Path:
    return Layout(storage_root(folder)).upload(UploadKey(TENANT, upload_id)).folder


def file_path(folder: Path, file_id: str = FILE_ID) -> Path:
    return Layout(storage_root(folder)).file(ObjectKey(TENANT, file_id))


@dataclass
class Told:
    """What the client was told before the fault: `chunks` maps an index to the CRC-64/NVME of its answer."""

    upload: str | None = None
    job: str | None = None
    chunks: dict[int, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


class Acks:
    """The client's notes, written before it goes on: a kill takes none of them away."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, **what: Any) -> None:
        os.write(self._descriptor, json.dumps(what).encode() + b"\n")


def told(folder: Path) -> Told:
    """Read the notes again."""
    known = Told()
    path = folder / "acks"
    for line in path.read_text().splitlines() if path.exists() else ():
        note = json.loads(line)
        if "chunk" in note:
            known.chunks[note["chunk"]] = note["crc64"]
        known.upload = note.get("upload", known.upload)
        known.job = note.get("job", known.job)
        known.refused += [note["refused"]] if "refused" in note else []
        known.unexpected += [note["unexpected"]] if "unexpected" in note else []
    return known
