"""The files of the demo: big and random, a table, a picture, nothing at all."""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
BIG_SIZE = 256 * MIB
CSV_ROWS = 20_000
PNG_SIDE = 256  # pixels


@dataclass(frozen=True)
class Sample:
    """A file on disk and what it has to come back as."""

    path: Path
    size: int
    sha256: str
    content_type: str


def write_samples(folder: Path, big_size: int = BIG_SIZE) -> list[Sample]:
    """Write the four files, the big one first."""
    return [
        _write(folder / "random.bin", "application/octet-stream", _random(big_size)),
        _write(folder / "readings.csv", "text/csv", _csv(CSV_ROWS)),
        _write(folder / "gradient.png", "image/png", [_png(PNG_SIDE)]),
        _write(folder / "empty.txt", "text/plain", []),
    ]


def _write(path: Path, content_type: str, pieces: Iterable[bytes]) -> Sample:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return Sample(path, path.stat().st_size, digest.hexdigest(), content_type)


def _random(size: int) -> Iterator[bytes]:
    for start in range(0, size, MIB):
        yield os.urandom(min(MIB, size - start))


def _csv(rows: int) -> Iterator[bytes]:
    yield b"station,minute,temperature,remark\n"
    for minute in range(rows):
        yield f"north-{minute % 7},{minute},{15 + minute % 100 / 10:.1f},clear\n".encode()


def _png(side: int) -> bytes:
    """Return a picture in 8-bit grey (PNG specification, section 5: signature, then length + type + data + CRC)."""
    rows = b"".join(b"\0" + bytes((x + y) % 256 for x in range(side)) for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
