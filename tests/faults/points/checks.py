"""What must hold after a fault. Reads folders, journals and the database by itself: it asks no process of ours."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from awscrt.checksums import crc64nvme

from common.storage.base import Receipt
from common.storage.layout import WHOLE
from common.storage.records import unpack
from tests.faults.points import script
from tests.fixtures.faults import FaultRow

NOT_OURS = frozenset({"files", "uploads"})


@dataclass
class Findings:
    """Counts for the table, and a sentence for each thing that is wrong."""

    points: int = 0
    chunks_checked: int = 0
    lost: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    files_checked: int = 0
    stuck: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [*self.lost, *self.altered, *self.stuck, *self.orphans, *self.wrong]

    def add(self, other: Findings) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self, fault: str, longest_recovery: float | None = None) -> FaultRow:
        return FaultRow(
            fault,
            points=self.points,
            chunks_checked=self.chunks_checked,
            chunks_lost=len(self.lost),
            chunks_altered=len(self.altered),
            files_checked=self.files_checked,
            stuck_jobs=len(self.stuck),
            orphans=len(self.orphans),
            longest_recovery=longest_recovery,
        )


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "sluice.db", timeout=10)) as connection:
        return connection.execute(statement).fetchall()


def check_acknowledged(
    folder: Path, content: bytes, chunk_size: int, upload_id: str, told: dict[int, int], excused: frozenset[int]
) -> Findings:
    """Right after the fault: each acknowledged chunk has its bytes and its receipt, and no receipt tells a lie.

    `told`: index and CRC of each chunk that got its 2xx; `excused` are those that the fault itself destroyed.
    """
    found = Findings()
    upload = script.upload_folder(folder, upload_id)
    stored = _stored(folder, upload, upload_id)
    receipts = receipts_in(upload)
    for index, crc in told.items():
        if index in excused:
            continue
        found.chunks_checked += 1
        piece = content[index * chunk_size : (index + 1) * chunk_size]
        offset = index * chunk_size
        if (upload / "data").exists() and Receipt(offset, len(piece), crc) not in receipts:
            found.lost.append(f"chunk {index} has no receipt any more")
        elif stored is None:
            found.lost.append(f"chunk {index}: neither upload nor file is there")
        elif stored[offset : offset + len(piece)] != piece:
            found.altered.append(f"chunk {index} has other bytes")
    for receipt in receipts:
        index = receipt.offset // chunk_size
        there = (stored or b"")[receipt.offset : receipt.offset + receipt.length]
        if index not in excused and index not in told and crc64nvme(there) != receipt.crc64:
            found.altered.append(f"the receipt of chunk {index} stands for bytes that are not there")
    return found


def receipts_in(upload: Path) -> list[Receipt]:
    """All receipts of all journals of an upload."""
    return [receipt for journal in sorted(upload.glob("receipts-*.log")) for receipt in unpack(journal.read_bytes())]


def check_files(folder: Path, content: bytes) -> Findings:
    """Every file that the database calls ready is there, whole."""
    found = Findings()
    for (file_id,) in query(folder, "SELECT id FROM files WHERE state = 'ready'"):
        found.files_checked += 1
        path = script.file_path(folder, file_id)
        if not path.exists():
            found.lost.append(f"the ready file {file_id} has no bytes")
        elif path.read_bytes() != content:
            found.altered.append(f"the ready file {file_id} is not what was sent")
    return found


def check_end(folder: Path, content: bytes, damage_reported: bool = False) -> Findings:
    """After recovery: one file, one metadata record, all jobs at their end, nothing left over."""
    found = check_files(folder, content)
    if found.files_checked != 1:
        found.wrong.append(f"{found.files_checked} files are ready")
    jobs = query(folder, "SELECT kind, state, error_code FROM jobs")
    found.stuck += [f"job {kind} is {state}" for kind, state, _ in jobs if state in ("queued", "running")]
    ended = sorted((kind, state) for kind, state, code in jobs if code != "chunks_damaged" or not damage_reported)
    if ended != [("finalize", "succeeded"), ("metadata", "succeeded")]:
        found.wrong.append(f"jobs: {jobs}")
    uploads = query(folder, "SELECT id, state FROM uploads WHERE state NOT IN ('complete', 'aborted')")
    found.stuck += [f"upload {upload_id} is {state}" for upload_id, state in uploads]
    found.orphans += list(orphans(folder))
    return found


def orphans(folder: Path) -> Iterator[str]:
    """What lies in the storage without a row that needs it."""
    root = script.storage_root(folder)
    ready = {row[0] for row in query(folder, "SELECT id FROM files")}
    alive = {row[0] for row in query(folder, "SELECT id FROM uploads WHERE state IN ('open', 'finalizing')")}
    for path in root.rglob("*"):
        inside = path.relative_to(root).parts
        known = len(inside) > 2 and (
            inside[2].removesuffix(WHOLE) in alive if inside[1] == "uploads" else len(inside) == 3 or inside[3] in ready
        )
        if len(inside) > 2 and not known:
            yield f"left over: {Path(*inside)}"
        if len(inside) == 2 and inside[1] not in NOT_OURS:
            yield f"unknown: {Path(*inside)}"


def missing_at_first(folder: Path) -> list[int]:
    """The chunks that a client was asked for when it came back."""
    return list(json.loads((folder / "recovered.json").read_text())["missing"][0])


def _stored(folder: Path, upload: Path, upload_id: str) -> bytes | None:
    """The bytes of the upload, wherever they are now."""
    if (upload / "data").exists():
        return (upload / "data").read_bytes()
    rows = query(folder, f"SELECT file_id FROM uploads WHERE id = '{upload_id}' AND file_id IS NOT NULL")
    paths = [script.file_path(folder, row[0]) for row in rows]
    return next((path.read_bytes() for path in paths if path.exists()), None)
