"""The clients of a chaos run: they upload, take errors as they come, and remember what they were told."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from client import AsyncClient, ChunkReceipt, FileStateStore, RetryPolicy, SluiceClientError, Upload, UploadOptions

KIB, MIB = 1024, 1024 * 1024
POSTED = 0.25  # share of the files up to 1 MiB that go in one request
RETRY = RetryPolicy(attempts=6, base=0.2, cap=3.0)


@dataclass(frozen=True, slots=True)
class Load:
    """What clients send. Sizes in bytes: files of all, of most and of few clients, chunks from the smallest that the
    storage takes. `pause`: most seconds between two files of one client."""

    small: tuple[int, ...] = (0, 1, 1000, 64 * KIB, 200 * KIB)
    medium: tuple[int, ...] = (1 * MIB, 1 * MIB + 1, 3 * MIB)
    large: tuple[int, ...] = (5 * MIB, 32 * MIB)
    chunks: tuple[int, int] = (1, MIB)
    pause: float = 0.5

    def chunk_size(self, size: int, pieces: int) -> int:
        """For a file of `size` bytes in about so many pieces."""
        least, most = self.chunks
        return max(least, min(most, size // pieces))


@dataclass(frozen=True, slots=True)
class Accepted:
    """A file that the service promised to finish."""

    job_id: str
    sha256: str
    size: int


@dataclass
class Memory:
    """What all clients were told."""

    accepted: list[Accepted] = field(default_factory=list)
    lost_chunks: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    acknowledged: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def accept(self, job_id: str, content: bytes) -> None:
        self.accepted.append(Accepted(job_id, hashlib.sha256(content).hexdigest(), len(content)))

    @property
    def chunks(self) -> int:
        return sum(map(len, self.acknowledged.values()))


class WatchfulClient(AsyncClient):
    """The SDK; it notes each acknowledged chunk, and whether one is ever called missing again."""

    def __init__(self, url: str, memory: Memory) -> None:
        super().__init__(url, retry=RETRY)
        self._memory = memory

    async def put_chunk(self, upload_id: str, index: int, *args: Any, **more: Any) -> ChunkReceipt:
        receipt = await super().put_chunk(upload_id, index, *args, **more)
        self._memory.acknowledged[upload_id].add(index)
        return receipt

    async def get_upload(self, upload_id: str) -> Upload:
        before = set(self._memory.acknowledged[upload_id])
        upload = await super().get_upload(upload_id)
        if upload.state == "open":
            missing = {index for first, last in upload.missing for index in range(first, last + 1)}
            self._memory.lost_chunks += [f"{upload_id}/{index}" for index in sorted(before & missing)]
        return upload


class Uploader:
    """One client: file after file until it is told to stop. A file that failed is tried again, from where it was."""

    def __init__(
        self, url: str, folder: Path, memory: Memory, *, load: Load, sizes: tuple[int, ...], seed: int
    ) -> None:
        self._url = url
        self._folder = folder
        self._memory = memory
        self._load = load
        self._sizes = sizes
        self._random = Random(seed)
        self._number = 0

    async def run(self, stop: asyncio.Event) -> None:
        self._folder.mkdir(parents=True)
        store = FileStateStore(self._folder / "state")
        async with WatchfulClient(self._url, self._memory) as sluice:
            while not stop.is_set():
                content = self._random.randbytes(self._random.choice(self._sizes))
                if self._random.random() < POSTED and len(content) <= MIB:
                    await self._post(content)
                else:
                    await self._send(sluice, content, store, stop)
                await asyncio.sleep(self._random.uniform(0, self._load.pause))

    async def _send(self, sluice: AsyncClient, content: bytes, store: FileStateStore, stop: asyncio.Event) -> None:
        """Chunk by chunk, until it is accepted."""
        self._number += 1
        path = self._folder / f"file-{self._number}.bin"
        path.write_bytes(content)
        chunk_size = self._load.chunk_size(len(content), self._random.randrange(1, 9))
        options = UploadOptions(chunk_size=chunk_size, parallel=3, wait=False, store=store)
        while not stop.is_set():
            try:
                result = await sluice.upload_file(path, options)
            except SluiceClientError as error:
                self._memory.errors[type(error).__name__] += 1
                await asyncio.sleep(0.2)
            else:
                self._memory.accept(result.job.id, content)
                break
        path.unlink()

    async def _post(self, content: bytes) -> None:
        """In one request, as a form or as a body. Not repeated: nobody knows what became of it."""
        named = {"Content-Disposition": 'attachment; filename="raw.bin"'}
        try:
            async with httpx.AsyncClient(base_url=self._url, timeout=30, trust_env=False) as http:
                if self._random.random() < 0.5:
                    form = {"tags": "chaos", "description": "in a form"}
                    answer = await http.post("/v1/files", files={"file": ("form.bin", content)}, data=form)
                else:
                    answer = await http.post("/v1/files", content=content, headers=named)
        except httpx.HTTPError as error:
            self._memory.errors[f"POST {type(error).__name__}"] += 1
            return
        if answer.status_code == httpx.codes.ACCEPTED:
            body = answer.json()
            self._memory.accept(body["files"][0]["job_id"] if "files" in body else body["id"], content)
        else:
            self._memory.errors[f"POST {answer.status_code}"] += 1
