"""Header fields."""

import base64
import hashlib

import pytest

from client.fields import attachment, content_range, digest_field, sha256_of_fields

DIGEST = hashlib.sha256(b"x")
FIELD = f"sha-256=:{base64.b64encode(DIGEST.digest()).decode()}:"


def test_a_content_digest_is_a_byte_sequence() -> None:
    assert digest_field(DIGEST.digest()) == FIELD


@pytest.mark.parametrize(
    ("repr_digest", "etag"),
    [
        (FIELD, None),
        (f"crc64nvme=:AAAAAAAAAAA=:, {FIELD}", '"other"'),
        (None, f'"{DIGEST.hexdigest()}"'),
        ("sha-256=:!:", f'"{DIGEST.hexdigest()}"'),
    ],
)
def test_the_sha256_is_found(repr_digest: str | None, etag: str | None) -> None:
    assert sha256_of_fields(repr_digest, etag) == DIGEST.hexdigest()


@pytest.mark.parametrize("etag", [None, '"v1"', f'W/"{DIGEST.hexdigest()}"'])
def test_an_etag_that_is_no_sha256_says_nothing(etag: str | None) -> None:
    assert sha256_of_fields(None, etag) is None


def test_a_content_range_is_read() -> None:
    assert content_range("bytes 2-5/10") == (2, 5, 10)
    assert content_range("bytes 2-5/*") == (2, 5, None)
    assert content_range("bytes */10") is None


def test_any_name_fits_a_content_disposition() -> None:
    value = attachment('a"\r\nb ü.bin')
    assert value == "attachment; filename=\"a___b _.bin\"; filename*=UTF-8''a%22%0D%0Ab%20%C3%BC.bin"
