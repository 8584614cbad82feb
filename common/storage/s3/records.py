"""What our small objects say: JSON, written once and read by any process. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from common.storage.base import ObjectKey, Receipt, UploadShape


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that is here. `life` names this beginning of it."""

    life: str
    size: int | None
    chunk_size: int
    tenant: str
    file_id: str
    direct: bool
    stream: bool = False

    @classmethod
    def of(cls, life: str, shape: UploadShape) -> Begun:
        target = shape.target
        return cls(
            life, shape.size, shape.chunk_size, target.tenant, target.file_id, direct=shape.direct, stream=shape.stream
        )

    @property
    def target(self) -> ObjectKey:
        return ObjectKey(self.tenant, self.file_id)

    @property
    def single(self) -> bool:
        """One chunk, known from the start: one object and no parts."""
        return self.size is not None and self.size <= self.chunk_size and not self.direct and not self.stream

    def length_of(self, part: int) -> int | None:
        """Bytes that part `part` (from 1) must have; None where the end of the upload is not known."""
        if self.size is None:
            return None
        return max(0, min(self.chunk_size, self.size - (part - 1) * self.chunk_size))

    def pack(self) -> bytes:
        members = asdict(self)
        if not self.stream:  # the version before does not know it
            del members["stream"]
        return json.dumps(members).encode()

    @classmethod
    def unpack(cls, content: bytes) -> Begun:
        return cls(**json.loads(content))


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """Bytes of a stream from `offset` on: the whole object at `key`, which may be another upload's."""

    offset: int
    length: int
    crc64: int
    key: str

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Entry:
    """What one append has brought. `closed`: it has brought nothing, and no more may come."""

    offset: int
    pieces: tuple[StoredPiece, ...]
    closed: bool = False

    @property
    def end(self) -> int:
        return self.pieces[-1].end if self.pieces else self.offset

    def pack(self) -> bytes:
        pieces = [[piece.offset, piece.length, piece.crc64, piece.key] for piece in self.pieces]
        return json.dumps({"offset": self.offset, "pieces": pieces, "closed": self.closed}).encode()

    @classmethod
    def unpack(cls, content: bytes) -> Entry:
        found = json.loads(content)
        return cls(found["offset"], tuple(StoredPiece(*piece) for piece in found["pieces"]), found["closed"])


@dataclass(frozen=True, slots=True)
class Claim:
    """What the bytes of a part have to be: whoever came first to the end of its body has said so."""

    length: int
    crc64: int

    def pack(self) -> bytes:
        return json.dumps([self.length, self.crc64]).encode()

    @classmethod
    def unpack(cls, content: bytes) -> Claim:
        length, crc64 = json.loads(content)
        return cls(length, crc64)


@dataclass(frozen=True, slots=True)
class SealRecord:
    """What a seal has put together at the target: the receipts, and the multipart upload that they were parts of."""

    multipart: str
    pieces: tuple[Receipt, ...]

    @classmethod
    def of(cls, multipart: str, pieces: Iterable[Receipt]) -> SealRecord:
        return cls(multipart, tuple(pieces))

    def pack(self) -> bytes:
        pieces = [[piece.offset, piece.length, piece.crc64] for piece in self.pieces]
        return json.dumps({"multipart": self.multipart, "pieces": pieces}).encode()

    @classmethod
    def unpack(cls, content: bytes) -> SealRecord:
        found = json.loads(content)
        return cls(found["multipart"], tuple(Receipt(*piece) for piece in found["pieces"]))
