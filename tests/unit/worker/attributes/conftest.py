"""Small real files, made here byte by byte."""

import gzip
import io
import struct
import zipfile

import pytest


def _iso_box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return buffer.getvalue()


def _heic(extra_meta: bytes = b"") -> bytes:
    size = _iso_box(b"iprp", _iso_box(b"ipco", _iso_box(b"ispe", struct.pack(">III", 0, 640, 480))))
    return _iso_box(b"ftyp", b"heic\0\0\0\0mif1heic") + _iso_box(b"meta", b"\0\0\0\0" + size + extra_meta)


@pytest.fixture(scope="session")
def samples() -> dict[str, bytes]:
    """Bytes by a short name of the format; every picture is 640 x 480."""
    return {
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">LL", 640, 480) + b"\x08\x06\0\0\0" + bytes(4),
        "gif": b"GIF89a" + struct.pack("<HH", 640, 480) + b"\0\0\0;",
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x0b\x08"
        + struct.pack(">HH", 480, 640)
        + b"\1\1\x11\0\xff\xd9",
        "webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (639).to_bytes(3, "little") + (479).to_bytes(3, "little"),
        "bmp": b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 640, -480, 1, 24) + bytes(24),
        "tiff": b"II*\0\x08\0\0\0" + struct.pack("<HHHIIHHII", 2, 256, 3, 1, 640, 257, 3, 1, 480) + bytes(4),
        "heic": _heic(),
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "zip": _zip("a.txt"),
        "docx": _zip("[Content_Types].xml", "word/document.xml"),
        "gzip": gzip.compress(b"hello", mtime=0),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(57),
        "exe": b"MZ\x90\0\x03\0\0\0" + bytes(56),
        "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
        "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        "sqlite": b"SQLite format 3\0" + bytes(84),
        "html": b"\n<!-- saved --><!DOCTYPE HTML>\n<html><body>x</body></html>\n",
        "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"/>\n',
        "xml": b'<?xml version="1.0"?><note/>',
        "json": b'{"a": [1, 2, {"b": null}]}\n',
        "ndjson": b'{"a": 1}\n{"a": 2}\n',
        "script": b"#!/bin/sh\necho hello\n",
        "plain": b"Just a line of words.\nAnd one more.\n",
        "csv": b"id,name,price\n1,Ann,2.50\n2,Bob,3.75\n",
        "random": bytes((i * i * 31 + i * 7) % 256 for i in range(2048)),
    }


@pytest.fixture(scope="session")
def costly_heic() -> bytes:
    """A HEIC of 2 KB whose item table lists 300 times 65,535 extents of no bytes."""
    items = b"".join(struct.pack(">HHH", number, 0, 0xFFFF) for number in range(300))
    return _heic(_iso_box(b"iloc", bytes(6) + struct.pack(">H", 300) + items))
