"""`Upload-Checksum`: algorithm and digest."""

import base64
import hashlib

import pytest

from common.digests import Digests, StreamHasher
from common.errors import InvalidField
from gateway.tus.checksums import ALGORITHMS, parse_checksum


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def test_the_example_of_the_protocol_is_the_sha_1_of_its_bytes() -> None:
    assert parse_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=") == {"sha1": hashlib.sha1(b"hello world").digest()}


@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("sha1", hashlib.sha1(b"123456789").digest()),
        ("sha256", hashlib.sha256(b"123456789").digest()),
        ("sha512", hashlib.sha512(b"123456789").digest()),
        ("md5", hashlib.md5(b"123456789").digest()),
        ("crc32", bytes.fromhex("cbf43926")),
        ("crc32c", bytes.fromhex("e3069283")),  # the check values of the catalogue of CRCs
        ("crc64nvme", bytes.fromhex("ae8b14860a799888")),
    ],
)
def test_every_algorithm_that_is_offered_can_be_compared(name: str, checksum: bytes) -> None:
    declared: Digests = parse_checksum(f"{name} {encoded(checksum)}")
    hasher = StreamHasher(declared)
    hasher.update(b"123456789")
    assert hasher.digests() == declared


def test_no_algorithm_is_left_out_above() -> None:
    assert list(ALGORITHMS) == ["sha1", "sha256", "sha512", "md5", "crc32", "crc32c", "crc64nvme"]


def test_without_the_field_nothing_is_compared() -> None:
    assert parse_checksum(None) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha1",
        "sha1 ",
        "sha1 x",
        "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha-1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "md5 AAAA",
    ],
)
def test_what_cannot_be_compared_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_checksum(text)
