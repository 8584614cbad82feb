"""The format of a receipts journal. Pure.

A journal is a sequence of records of 32 bytes, little-endian:

    bytes 0..3    magic "SRC1"
    bytes 4..7    CRC-32 of bytes 8..31
    bytes 8..15   offset of the segment in the file
    bytes 16..23  length of the segment in bytes
    bytes 24..31  CRC-64/NVME of the segment

32 divides the sector size, so a record never lies across two sectors. Nothing after the first bad record of a journal
counts: whoever made a torn record has left that journal for good, so only its end can be torn.
"""

from __future__ import annotations

import struct
import zlib

from common.storage.base import Receipt

_HEAD = struct.Struct("<4sI")
_BODY = struct.Struct("<QQQ")
_PARTS = struct.Struct(f"{_HEAD.format}{_BODY.size}s")
_RECORD = struct.Struct("<8xQQQ")
_MAGIC = b"SRC1"

RECORD_SIZE = _HEAD.size + _BODY.size


def pack(receipt: Receipt) -> bytes:
    body = _BODY.pack(receipt.offset, receipt.length, receipt.crc64)
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def unpack(journal: bytes) -> list[Receipt]:
    """The receipts in front of the first bad or incomplete record. Each stands for `RECORD_SIZE` bytes read."""
    good = _good(memoryview(journal)[: len(journal) - len(journal) % RECORD_SIZE])
    return list(map(Receipt._make, _RECORD.iter_unpack(memoryview(journal)[: good * RECORD_SIZE])))


def _good(records: memoryview) -> int:
    """How many records stand in front of the first bad one."""
    count = 0
    for magic, checksum, body in _PARTS.iter_unpack(records):
        if magic != _MAGIC or checksum != zlib.crc32(body):
            break
        count += 1
    return count
