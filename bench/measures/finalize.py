"""Finalize alone, over sparse uploads of up to 100 GiB with all their receipts; against hashlib on the same bytes."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
from awscrt import checksums

from bench.driver import Connection
from bench.forms import GIB, MIB
from bench.measures.contenders import DEFAULT, RECEIPTS, ours, rounds
from bench.measures.large import HASHLIB, hash_seconds
from bench.rows import Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting
from common.ids import new_id
from common.storage.base import Receipt, UploadKey
from common.storage.layout import Layout
from common.storage.receipts import Ledgers

CHUNK = 20 * MIB  # what the chunk size policy gives large files
RATE, TIME, RSS = "MiB/s read back", "ms", "MiB RSS of the worker"
FEW_ABOVE = 4 * GIB  # one round is enough: it lasts long


def measure(setting: Setting) -> Result:
    form = setting.form
    result = Result(
        [
            "Sluice: `sluice up`, 1 gateway, 1 worker, Redis, SQLite; fsync off.",
            "From the finalize request until the job has succeeded. The data are holes, so no disk is read.",
            f"All chunks of {CHUNK // MIB} MiB have receipts; the gateway has seen them, as if it had taken them.",
            f"Measured in {rounds(setting)}; above {FEW_ABOVE // GIB} GiB the bytes are read once.",
            "hashlib: a new file of as many holes, SHA-256 in 1 MiB reads. A small file's time is that of its job.",
        ]
    )
    folder = setting.subfolder("finalize")
    with setting.side_by_side(ours(folder, DEFAULT, RECEIPTS), result) as running:
        _hash_holes(folder / "warm.bin", max(size for size in form.finalize_read if size <= 10 * GIB))
        takes = []
        for server in running:
            sizes = form.finalize_receipts if server.name == RECEIPTS else form.finalize_read
            takes += [_take(setting, result, server, size) for size in sizes]
        takes += [_bare(result, folder, size) for size in form.finalize_read if MIB < size <= 10 * GIB]
        interleave(takes, form.rounds, result, setting.say)
    setting.driver_load()
    return result


def case(size: int) -> str:
    return f"{size // GIB} GiB" if size >= GIB else f"{size // MIB} MiB"


def _take(setting: Setting, result: Result, server: Server, size: int) -> Take:
    def run() -> None:
        upload = sparse_upload(server, size)
        _look(server, upload)
        seconds = setting.call("native.finalize", url=server.url, upload=upload).value["ready"]
        result.add(case(size), server.name, TIME, seconds * 1000)
        if server.name == DEFAULT:
            result.add(case(size), server.name, RATE, size / MIB / seconds)
            worker = psutil.Process(server.pids["worker-1"])
            result.add(case(size), server.name, RSS, worker.memory_info().rss / MIB)
        _forget(server, upload)

    return Take(f"{server.name}, {case(size)}", run, _every(size) if server.name == DEFAULT else 1)


def _bare(result: Result, folder: Path, size: int) -> Take:
    def run() -> None:
        path = folder / "sparse.bin"
        seconds = _hash_holes(path, size)
        result.add(case(size), HASHLIB, RATE, size / MIB / seconds)
        result.add(case(size), HASHLIB, TIME, seconds * 1000)

    return Take(f"{HASHLIB}, {case(size)}", run, _every(size))


def _hash_holes(path: Path, size: int) -> float:
    """Seconds; the file is new, and gone afterwards, so that none is read from memory and none keeps any."""
    path.touch()
    os.truncate(path, size)
    try:
        return hash_seconds(path)
    finally:
        path.unlink()


def _look(server: Server, upload: str) -> None:
    control = Connection(server.url)
    assert control.json("GET", f"/v1/uploads/{upload}")["missing"] == []
    control.close()


def _forget(server: Server, upload: str) -> None:
    control = Connection(server.url)
    control.request("DELETE", f"/v1/files/{control.json('GET', f'/v1/uploads/{upload}')['file_id']}")
    control.close()


def _every(size: int) -> int:
    """In which rounds so many bytes are read."""
    return 1_000 if size > FEW_ABOVE else 1


def sparse_upload(server: Server, size: int) -> str:
    """The id of an upload of zeros with all its receipts, made beside the gateway: it refuses more than fits the disk.

    The row is the copy of a small upload's under another id, so nothing that the gateway remembers is wrong.
    """
    control = Connection(server.url)
    small = control.json("POST", "/v1/uploads", {"filename": "sparse.bin", "size": 1, "chunk_size": CHUNK})
    control.close()
    upload = new_id()
    with closing(sqlite3.connect(server.folder / "sluice.db", timeout=30)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(uploads)")]
        changed = {"id": "?", "file_id": "?", "size": "?", "idempotency_key": "NULL"}
        values = ", ".join(changed.get(name, f'"{name}"') for name in columns)
        given = {"id": upload, "file_id": new_id(), "size": size}
        database.execute(
            f"INSERT INTO uploads SELECT {values} FROM uploads WHERE id = ?",
            [*(given[name] for name in columns if name in given), small["id"]],
        )
        tenant = database.execute("SELECT tenant FROM uploads WHERE id = ?", [upload]).fetchone()[0]
    _store(Layout(server.folder / "storage").upload(UploadKey(tenant, upload)).folder, size)
    return upload


def _store(folder: Path, size: int) -> None:
    folder.mkdir()
    (folder / "data").touch()
    os.truncate(folder / "data", size)
    (folder / "locks").touch()
    ledger, whole, zeros = Ledgers().of(folder), _crc_of_zeros(CHUNK), size % CHUNK
    for offset in range(0, size, CHUNK):
        length = min(CHUNK, size - offset)
        ledger.append(Receipt(offset, length, whole if length == CHUNK else _crc_of_zeros(zeros)), durable=False)


def _crc_of_zeros(count: int) -> int:
    return int(checksums.crc64nvme(bytes(count)))
