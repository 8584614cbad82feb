"""Digests: known vectors, streaming, combining, and the two forms on the wire."""

import hashlib
import os
from contextlib import suppress

import pytest
from awscrt import checksums
from hypothesis import given
from hypothesis import strategies as st

from common.digests import (
    CRC_32C,
    CRC_64,
    DIGEST_SIZES,
    MANY,
    SHA_256,
    SHA_512,
    Crc64,
    StreamHasher,
    combine_crc64,
    differing,
    format_digest_field,
    parse_content_digest,
    parse_hex,
    to_hex,
)
from common.errors import InvalidDigest

ALGORITHMS = list(DIGEST_SIZES)
DIGESTS = st.fixed_dictionaries(
    {}, optional={name: st.binary(min_size=size, max_size=size) for name, size in DIGEST_SIZES.items()}
).filter(bool)


def digests_of(data: bytes, *algorithms: str) -> dict[str, bytes]:
    hasher = StreamHasher(algorithms)
    hasher.update(data)
    return hasher.digests()


@pytest.mark.parametrize(
    ("algorithm", "data", "digest"),
    [
        (CRC_64, b"123456789", "ae8b14860a799888"),
        (CRC_64, b"", "0000000000000000"),
        (CRC_64, bytes(32), "cf3473434d4ecf3b"),  # NVMe command set specification, figure on the 64-bit CRC
        (CRC_32C, b"123456789", "e3069283"),
        (CRC_32C, bytes(32), "8a9136aa"),  # RFC 3720 appendix B.4
        (CRC_32C, b"\xff" * 32, "62a8ab43"),
        (SHA_256, b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (SHA_512, b"abc", hashlib.sha512(b"abc").hexdigest()),
    ],
)
def test_known_vectors(algorithm: str, data: bytes, digest: str) -> None:
    assert to_hex(digests_of(data, algorithm)) == {algorithm: digest}


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_a_stream_in_pieces_has_the_digests_of_the_whole(pieces: list[bytes]) -> None:
    hasher = StreamHasher(ALGORITHMS)
    for piece in pieces:
        hasher.update(memoryview(piece))
    assert hasher.digests() == digests_of(b"".join(pieces), *ALGORITHMS)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_crcs_of_parts_combine_to_the_crc_of_the_whole(parts: list[bytes]) -> None:
    def crc(data: bytes) -> int:
        running = Crc64()
        running.update(data)
        return running.value

    assert combine_crc64((crc(part), len(part)) for part in parts) == crc(b"".join(parts))


@pytest.mark.parametrize("count", [MANY, MANY + 1, 2 * MANY])
def test_crcs_of_very_many_parts_of_one_length_combine_as_well(count: int) -> None:
    data = os.urandom(count * 13 + 30)
    parts = [data[:20], *(data[at : at + 13] for at in range(20, 20 + count * 13, 13)), data[20 + count * 13 :]]
    assert combine_crc64((checksums.crc64nvme(part), len(part)) for part in parts) == checksums.crc64nvme(data)


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(InvalidDigest, match="sha-256"):
        StreamHasher(["md4"])


def test_only_algorithms_in_both_are_compared() -> None:
    assert differing({SHA_256: b"a", CRC_64: b"b"}, {SHA_256: b"a", CRC_32C: b"c"}) == []
    assert differing({SHA_256: b"a", CRC_64: b"b"}, {SHA_256: b"x", CRC_64: b"y"}) == [SHA_256, CRC_64]


@given(DIGESTS)
def test_both_forms_read_back_what_was_written(digests: dict[str, bytes]) -> None:
    assert parse_hex(to_hex(digests)) == digests
    assert parse_content_digest(format_digest_field(digests)) == digests


@pytest.mark.parametrize(
    ("field", "data"),
    [
        # RFC 9530 appendix B.1: {"hello": "world"} and a line feed
        ("sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", b'{"hello": "world"}\n'),
        (
            "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:",
            b'{"hello": "world"}\n',
        ),
        ("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", b""),
    ],
)
def test_examples_of_rfc_9530(field: str, data: bytes) -> None:
    [(algorithm, digest)] = parse_content_digest(field).items()
    assert digests_of(data, algorithm)[algorithm] == digest


def test_an_unknown_algorithm_beside_a_known_one_is_ignored() -> None:
    field = "md5=:AAAA:, crc32c=:4waSgw==:, unixsum=5"
    assert to_hex(parse_content_digest(field)) == {CRC_32C: "e3069283"}


@pytest.mark.parametrize(
    "field",
    [
        "", "sha-256", "sha-256=abc", "sha-256=1", "sha-256=:AAAA:", "sha-256=(:AAAA:)", 'sha-256="x"', "md5=:AAAA:",
        "sha-256=:%%:", "=:AAAA:", "SHA-256=:AAAA:", "ä", "sha-256=:AAAA", "\x00",
    ],
)  # fmt: skip
def test_a_field_of_which_nothing_can_be_compared_is_refused(field: str) -> None:
    with pytest.raises(InvalidDigest):
        parse_content_digest(field)


@given(st.text())
def test_any_field_is_read_or_refused(field: str) -> None:
    with suppress(InvalidDigest):
        assert set(parse_content_digest(field)) <= set(ALGORITHMS)


@pytest.mark.parametrize("value", ["", "e306928", "e30692830", "zzzzzzzz", "e306 9283", "0xe30692", "\u0665" * 8])
def test_hex_of_another_length_or_alphabet_is_refused(value: str) -> None:
    with pytest.raises(InvalidDigest, match="8 hexadecimal"):
        parse_hex({CRC_32C: value})


def test_hex_may_be_upper_case() -> None:
    assert to_hex(parse_hex({CRC_32C: "E3069283"})) == {CRC_32C: "e3069283"}
