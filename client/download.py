"""Content to a path: whole, verified, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import httpx

from client.errors import (
    DownloadError,
    IntegrityError,
    InvalidArgumentError,
    SluiceApiError,
    SluiceProtocolError,
)
from client.fields import content_range, sha256_of_fields
from client.options import ProgressCallback
from client.retry import RetryBudget
from client.transport import Call, Transport

PIECE = 1024 * 1024
"""Bytes written at once."""


@dataclass(frozen=True)
class DownloadResult:
    """A finished download; `verified` says that the server announced a SHA-256 and the bytes have it."""

    path: Path
    size: int
    sha256: str
    verified: bool


async def fetch_to_path(
    transport: Transport,
    call: Call,
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    progress: ProgressCallback | None,
) -> DownloadResult:
    """Write what the call answers to `path`, by way of a temporary file beside it."""
    target = Path(path)
    _refuse_existing(target, overwrite)
    if not target.parent.is_dir():
        raise DownloadError(f"there is no folder {target.parent}")
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with _open_new(temporary, target) as file:
            fetch = _Fetch(transport, call, file, progress)
            await fetch.run()
            await asyncio.to_thread(_make_durable, file)
        verified = fetch.verify()
        _refuse_existing(target, overwrite)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return DownloadResult(target, fetch.received, fetch.hasher.hexdigest(), verified)


async def fetch_range(transport: Transport, call: Call, start: int, length: int) -> bytes:
    """The bytes [start, start+length) of what the call answers."""
    if start < 0 or length < 1:
        raise InvalidArgumentError("a range starts at 0 or later and has at least one byte")
    wanted = {**call.headers, "Range": f"bytes={start}-{start + length - 1}"}
    response = await transport.send(replace(call, headers=wanted))
    covered = content_range(response.headers.get("content-range"))
    if response.status_code != 206 or covered is None or covered[0] != start:
        raise SluiceProtocolError("the server did not answer with the range that was asked for")
    if len(response.content) != covered[1] - covered[0] + 1 or len(response.content) > length:
        raise SluiceProtocolError("the server answered with another number of bytes than it announced")
    return response.content


class _Fetch:
    """One download over as many connections as it takes."""

    def __init__(self, transport: Transport, call: Call, file: BinaryIO, progress: ProgressCallback | None) -> None:
        self.received = 0
        self.hasher = hashlib.sha256()
        self._transport = transport
        self._call = call
        self._file = file
        self._progress = progress
        self._etag: str | None = None
        self._announced: str | None = None
        self._total: int | None = None

    async def run(self) -> None:
        budget = RetryBudget(self._transport.policy, lambda: self.received)
        while True:
            try:
                call = replace(self._call, headers={**self._call.headers, **self._going_on()})
                async with self._transport.stream(call, budget.attempts) as response:
                    self._begin(response)
                    await self._write(response)
                if self._total is None or self.received >= self._total:
                    return
                raise httpx.RemoteProtocolError("the body ended early")
            except (SluiceApiError, httpx.RequestError) as error:
                await self._transport.pause_or_raise(error, budget, self._call)

    def verify(self) -> bool:
        """True when the announced SHA-256 is the one of the bytes, False when none was announced."""
        if self._total is not None and self.received != self._total:
            raise IntegrityError(f"received {self.received} bytes of {self._total}")
        if self._announced is None:
            return False
        if not hmac.compare_digest(self._announced, self.hasher.hexdigest()):
            raise IntegrityError("the SHA-256 of the downloaded bytes differs from the announced one")
        return True

    def _going_on(self) -> dict[str, str]:
        # Without a validator a second answer could be another version: start over then.
        if not self.received or self._etag is None:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self._etag}

    def _begin(self, response: httpx.Response) -> None:
        """Take the position of this answer; a whole answer to a range request starts the file over."""
        if response.status_code == 206:
            covered = content_range(response.headers.get("content-range"))
            if covered is None or covered[0] != self.received:
                raise SluiceProtocolError("the server did not answer with the range that was asked for")
            return
        if self.received:
            self._file.seek(0)
            self._file.truncate()
            self.received = 0
            self.hasher = hashlib.sha256()
        headers = response.headers
        length = headers.get("content-length")
        self._total = int(length) if length is not None and length.isdigit() else None
        etag = headers.get("etag")
        self._etag = etag if etag is not None and not etag.startswith("W/") else None
        self._announced = sha256_of_fields(headers.get("repr-digest"), etag)

    async def _write(self, response: httpx.Response) -> None:
        pending = bytearray()
        try:
            async for piece in response.aiter_raw():
                pending += piece
                if len(pending) >= PIECE:
                    await self._flush(pending)
        except httpx.TransportError:
            # What arrived before the break counts: on a bad link it may be all there is per connection.
            await self._flush(pending)
            raise
        await self._flush(pending)

    async def _flush(self, pending: bytearray) -> None:
        piece = bytes(pending)
        pending.clear()
        await asyncio.to_thread(self._keep, piece)
        self.received += len(piece)
        if self._progress is not None:
            self._progress(self.received, self._total or 0)

    def _keep(self, piece: bytes) -> None:
        self._file.write(piece)
        self.hasher.update(piece)


def _open_new(temporary: Path, target: Path) -> BinaryIO:
    """Raises OSError in the name of `target`: nobody asked for the other one."""
    try:
        return temporary.open("xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _make_durable(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise DownloadError(f"{target} is a folder")
    if not overwrite and os.path.lexists(target):
        raise DownloadError(f"{target} exists already; it was left as it is")
