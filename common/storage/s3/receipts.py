"""What has arrived of an upload: parts as the store lists them, and what our claims say their bytes are.

A part counts when the store has it in the length that it must have. Its CRC-64/NVME is the one that the store lists;
where the store lists none, the one of the claim that was made before the part could become complete.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from common.storage.base import Receipt
from common.storage.s3.context import Store
from common.storage.s3.keys import SINGLE, part_of_claim
from common.storage.s3.records import Claim, SealRecord
from common.storage.s3.uploads import Upload

CLAIMS_REMEMBERED = 100_000  # by key and ETag, so a claim that was replaced is read again
CLAIMS_AT_ONCE = 32  # requests


@dataclass(frozen=True, slots=True)
class Part:
    """A part as the store lists it. `crc64` is None where the store does not tell."""

    number: int
    size: int
    etag: str
    crc64: int | None


class Claims:
    """Claims of parts, each made once by whoever came first to the end of a body."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[tuple[str, str], Claim] = OrderedDict()

    async def get(self, upload: Upload, part: int) -> Claim | None:
        try:
            content, _ = await self._store.client.get(upload.keys.claim(part))
        except FileNotFoundError:
            return None
        return Claim.unpack(content)

    async def make(self, upload: Upload, part: int, claim: Claim) -> Claim:
        """Claim, and return the claim that stands: another's where that was first."""
        while not await self._store.put_once(upload.keys.claim(part), claim.pack()):
            standing = await self.get(upload, part)
            if standing is not None:  # otherwise it was put away in between
                return standing
        return claim

    async def of(self, upload: Upload, parts: Iterable[int]) -> dict[int, Claim]:
        """The claims of these parts, as far as there are any: one listing, and a request for each not seen before."""
        wanted = set(parts)
        listed: list[tuple[int, tuple[str, str]]] = []
        async for page in self._store.client.objects(upload.keys.claims):
            for found in page.get("Contents", ()):
                number = part_of_claim(found["Key"])
                if number in wanted:
                    listed.append((number, (found["Key"], found["ETag"])))
        await self._read([name for _, name in listed if name not in self._known])
        return {number: self._known[name] for number, name in listed if name in self._known}

    async def put_away(self, upload: Upload, parts: Iterable[int]) -> None:
        for part in parts:
            await self._store.client.call("delete_object", Key=upload.keys.claim(part))

    async def _read(self, names: list[tuple[str, str]]) -> None:
        slots = asyncio.Semaphore(CLAIMS_AT_ONCE)

        async def read(name: tuple[str, str]) -> None:
            async with slots:
                try:
                    content, etag = await self._store.client.get(name[0])
                except FileNotFoundError:
                    return
                if etag == name[1]:
                    self._known[name] = Claim.unpack(content)

        await asyncio.gather(*map(read, names))
        while len(self._known) > CLAIMS_REMEMBERED:
            self._known.popitem(last=False)


class Receipts:
    """See the module."""

    def __init__(self, store: Store, claims: Claims) -> None:
        self._store = store
        self._claims = claims

    async def parts(self, upload: Upload, multipart: str) -> list[Part]:
        """All parts by number. Raises FileNotFoundError when the multipart upload is used up or aborted."""
        marks = {"NextPartNumberMarker": "PartNumberMarker"}
        target = self._store.keys.object(upload.begun.target)
        found: list[Part] = []
        async for page in self._store.client.pages("list_parts", marks, Key=target, UploadId=multipart):
            found += [_part(item) for item in page.get("Parts", ())]
        return found

    async def part(self, upload: Upload, multipart: str, number: int) -> Part | None:
        """One part; None where it has not arrived. Raises FileNotFoundError as `parts`."""
        # All of them: it is asked for rarely, and not every store can begin its list in the middle of sparse parts.
        return next((part for part in await self.parts(upload, multipart) if part.number == number), None)

    async def counting(self, upload: Upload, parts: Iterable[Part]) -> dict[int, Receipt]:
        """The parts that count, by number."""
        right = [
            part for part in parts if part.size > 0 and part.size == (upload.begun.length_of(part.number) or part.size)
        ]
        untold = [part.number for part in right if part.crc64 is None]
        claims = await self._claims.of(upload, untold) if untold else {}
        receipts: dict[int, Receipt] = {}
        for part in right:
            claim = claims.get(part.number)
            crc64 = part.crc64 if part.crc64 is not None else claim.crc64 if claim is not None else None
            if crc64 is not None and (claim is None or claim.length == part.size):
                offset = (part.number - 1) * upload.begun.chunk_size
                receipts[part.number] = Receipt(offset, part.size, crc64)
        return receipts

    async def single(self, upload: Upload) -> Receipt | None:
        """The receipt of an upload of a single chunk."""
        size = await self.data_size(upload)
        claim = await self._claims.get(upload, SINGLE) if size is not None else None
        if claim is None or claim.length != size:
            return None
        return Receipt(0, claim.length, claim.crc64)

    async def data_size(self, upload: Upload) -> int | None:
        try:
            return int((await self._store.client.call("head_object", Key=upload.keys.data))["ContentLength"])
        except FileNotFoundError:
            return None

    async def sealed(self, upload: Upload, multipart: str) -> SealRecord | None:
        """What a seal of this multipart upload has put together."""
        try:
            content, _ = await self._store.client.get(upload.keys.seal)
        except FileNotFoundError:
            return None
        record = SealRecord.unpack(content)
        return record if record.multipart == multipart else None


def _part(item: dict[str, object]) -> Part:
    crc64 = item.get("ChecksumCRC64NVME")
    value = int.from_bytes(base64.b64decode(str(crc64)), "big") if crc64 else None
    return Part(int(str(item["PartNumber"])), int(str(item["Size"])), str(item["ETag"]), value)
