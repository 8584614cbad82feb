"""Uploads that came in one request: one file from the start, without a folder, locks and journals. All calls block.

`put` makes the file under another name, makes it durable, and renames it: it is whole or not there. Nobody writes to it
any more, so a sealer needs no lock: it reads it, compares it with the receipt that the caller has kept, and renames it
to where files are. What a crash leaves, and what the next run finds:

- before the first rename: a file that is `coming`, removed with the upload;
- before the second: the upload;
- after it: the target, which is read and compared once more.

An upload that has gone bad becomes one with a folder, where the client can send its bytes again as chunks. A sealer
that finds nothing but that folder says once more that they are damaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import TypeVar

from awscrt.checksums import crc64nvme

from common.chunking import ranges_of
from common.digests import CRC_64, SHA_256, StreamHasher, crc64_bytes, differing
from common.errors import ChunksDamaged, FileDigestMismatch, LeaseLost, StorageUnavailable
from common.storage.again import ReceiptAgain, conflict
from common.storage.base import Durability, Receipt, SealedObject, SealPlan, SealWatch, Whole
from common.storage.durable import Folders, sync_folder, write_at
from common.storage.failures import as_ours
from common.storage.inventory import Promises
from common.storage.layout import Layout, UploadPaths
from common.storage.together import Sealed, Small

Result = TypeVar("Result")

MODE = 0o444  # nobody changes it, not as an upload and not as a file
_DAMAGED = "The bytes are not stored as they were received. Send the chunks again, then finalize again."


class OneFile:
    """Stores and seals such uploads. `make_room` gives an upload its folder: it can take chunks then."""

    def __init__(
        self,
        layout: Layout,
        folders: Folders,
        promises: Promises,
        durability: Durability,
        make_room: Callable[[UploadPaths, int], None],
    ) -> None:
        self._layout = layout
        self._folders = folders
        self._promises = promises
        self._durability = durability
        self._make_room = make_room

    # --- storing --------------------------------------------------------------------------------------------

    def put(self, wholes: Sequence[Whole]) -> list[Receipt | Exception]:
        """See `Storage.put`. The names of all are made durable together."""
        durable = self._durability == "chunk"
        outcomes = [_outcome(self._put, whole, durable) for whole in wholes]
        if durable:
            parents = [self._layout.upload(whole.upload).folder.parent for whole in wholes]
            _sync_all(parents, outcomes)
        return outcomes

    def _put(self, whole: Whole, durable: bool) -> Receipt:
        paths, receipt = self._layout.upload(whole.upload), whole.receipt
        if os.path.exists(paths.whole):  # noqa: PTH110 - once for each small file
            return _same(paths.whole, whole)
        self._folders.ensure(paths.folder.parent, durable=durable)
        self._promises.require(receipt.length)
        try:
            self._write(paths.coming, whole.batch, durable=durable)
            os.rename(paths.coming, paths.whole)  # noqa: PTH104
        except FileNotFoundError as error:  # removed meanwhile: a worker has waited for these bytes for long
            raise StorageUnavailable("The file was given up while it was stored. Send it again.") from error
        except BaseException:
            paths.coming.unlink(missing_ok=True)
            raise
        return receipt

    def _write(self, path: Path, batch: Sequence[bytes], *, durable: bool) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        try:
            write_at(descriptor, batch, 0)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def receipts(self, paths: UploadPaths) -> list[Receipt]:
        """What is there. Raises FileNotFoundError when it is not."""
        content = paths.whole.read_bytes()
        return [Receipt(0, len(content), crc64nvme(content))] if content else []

    def remove(self, paths: UploadPaths) -> None:
        """Absent is fine."""
        for path in (paths.coming, paths.whole):
            path.unlink(missing_ok=True)

    # --- sealing --------------------------------------------------------------------------------------------

    def seal(self, smalls: Sequence[Small]) -> list[Sealed | Exception]:
        """See `SealsTogether.seal_together`. Names are made durable together, so that few syncs serve many."""
        outcomes = [_outcome(self._seal, small) for small in smalls]
        if self._durability != "none":
            _sync_all([self._layout.file(small.plan.target).parent for small in smalls], outcomes)
            # a name that came back would stay: nobody looks for it again
            _sync_all([self._layout.upload(small.upload).folder.parent for small in smalls], outcomes)
        return outcomes

    def _seal(self, small: Small) -> Sealed:
        paths, target = self._layout.upload(small.upload), self._layout.file(small.plan.target)
        try:
            return self._seal_at(paths.whole, paths, target, small)
        except FileNotFoundError:
            if paths.folder.exists():
                raise _damage(small.plan) from None
            return self._seal_at(target, paths, target, small)

    def _seal_at(self, path: Path, paths: UploadPaths, target: Path, small: Small) -> Sealed:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            content = _read(descriptor, small.plan.size)
            if not _is_received(content, small.plan) or not self._is_durable(descriptor):
                raise self._damaged(path, paths, small)
        finally:
            os.close(descriptor)
        file = _object(content, small.plan)
        seen = small.look(content) if small.look is not None else None
        if path != target:
            _check_held(small.watch)
            self._folders.ensure(target.parent, durable=self._durability != "none")
            path.rename(target)
        small.watch.progress(small.plan.size)
        return Sealed(file, seen)

    def _is_durable(self, descriptor: int) -> bool:
        """False after a failed sync of received bytes: nobody knows whether they reached the disk."""
        if self._durability == "none":
            return True
        try:
            os.fsync(descriptor)
        except OSError:
            return False
        return True

    def _damaged(self, path: Path, paths: UploadPaths, small: Small) -> ChunksDamaged:
        """The error, after the upload can take its bytes again."""
        _check_held(small.watch)
        self._make_room(paths, small.plan.size)
        path.unlink(missing_ok=True)
        return _damage(small.plan)


def _damage(plan: SealPlan) -> ChunksDamaged:
    chunks = range(ceil(plan.size / plan.chunk_size))
    return ChunksDamaged(_DAMAGED, chunks=list(chunks), ranges=ranges_of(chunks))


def _outcome(function: Callable[..., Result], *args: object) -> Result | Exception:
    """What it gives, or its error in our words."""
    try:
        return function(*args)
    except FileNotFoundError as error:
        return error
    except OSError as error:
        return as_ours(error)
    except Exception as error:  # noqa: BLE001 - each of many stands for itself
        return error


def _sync_all(folders: Sequence[Path], outcomes: list[Result | Exception]) -> None:
    """Make the names of what went well survive a power loss; where that fails, the error becomes the outcome."""
    by_folder: dict[Path, list[int]] = {}
    for index, (folder, outcome) in enumerate(zip(folders, outcomes, strict=True)):
        if not isinstance(outcome, Exception):
            by_folder.setdefault(folder, []).append(index)
    for folder, indexes in by_folder.items():
        try:
            sync_folder(folder)
        except OSError as error:
            for index in indexes:
                outcomes[index] = as_ours(error)


def _same(path: Path, whole: Whole) -> Receipt:
    """The receipt of what is there already. Raises ChunkConflict where it is something else."""
    content = path.read_bytes()
    if content != b"".join(whole.batch):
        raise conflict()
    return ReceiptAgain(*whole.receipt)


def _read(descriptor: int, size: int) -> bytes:
    """All of it where it has `size` bytes; one byte more shows that there is more."""
    content = os.pread(descriptor, size + 1, 0)
    while len(content) < size and (more := os.pread(descriptor, size + 1 - len(content), len(content))):
        content += more
    return content


def _is_received(content: bytes, plan: SealPlan) -> bool:
    assert plan.whole is not None, "only what came by `put` is sealed here"
    return len(content) == plan.size and crc64nvme(content) == plan.whole.crc64


def _object(content: bytes, plan: SealPlan) -> SealedObject:
    """Raises FileDigestMismatch."""
    algorithms = set(plan.declared) - {CRC_64}
    if plan.verify == "read":
        algorithms.add(SHA_256)
    hasher = StreamHasher(algorithms)
    hasher.update(content)
    digests = {**hasher.digests(), CRC_64: crc64_bytes(crc64nvme(content))}
    wrong = differing(plan.declared, digests)
    if wrong:
        raise FileDigestMismatch(
            f"The file is stored as it was received, but its {', '.join(wrong)} is not the declared one. "
            "Check the file and upload it again.",
            algorithms=wrong,
        )
    return SealedObject(plan.target, plan.size, digests, "read" if algorithms else "receipts")


def _check_held(watch: SealWatch) -> None:
    if watch.stop.is_set() or not watch.held():
        raise LeaseLost("The lease ran out before the file was sealed.")
