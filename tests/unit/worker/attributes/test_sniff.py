"""Media types from content."""

import pytest

from worker.attributes.sniff import Sniffed, detect_type
from worker.attributes.text import read_text


def sniff(data: bytes) -> Sniffed:
    return detect_type(data, b"", read_text(data, b"", whole=True), whole=True)


def sniff_cut(data: bytes, tail: bytes) -> Sniffed:
    return detect_type(data, tail, read_text(data, tail, whole=False), whole=False)


@pytest.mark.parametrize(
    ("sample", "media_type"),
    [
        ("png", "image/png"),
        ("gif", "image/gif"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("bmp", "image/bmp"),
        ("tiff", "image/tiff"),
        ("heic", "image/heic"),
        ("pdf", "application/pdf"),
        ("zip", "application/zip"),
        ("docx", "application/zip"),
        ("gzip", "application/gzip"),
        ("elf", "application/x-executable"),
        ("exe", "application/vnd.microsoft.portable-executable"),
        ("ole", "application/x-ole-storage"),
        ("mp4", "video/mp4"),
        ("sqlite", "application/x-sqlite3"),
        ("html", "text/html"),
        ("svg", "image/svg+xml"),
        ("xml", "application/xml"),
        ("json", "application/json"),
        ("ndjson", "application/x-ndjson"),
        ("script", "text/x-shellscript"),
        ("plain", "text/plain"),
        ("random", "application/octet-stream"),
    ],
)
def test_each_format_is_recognised_from_its_content(samples: dict[str, bytes], sample: str, media_type: str) -> None:
    assert sniff(samples[sample]).media_type == media_type


def test_a_file_of_no_bytes_is_empty() -> None:
    assert sniff(b"").media_type == "inode/x-empty"


@pytest.mark.parametrize("words", [b"BM is a company\n", b"MZ starts here\n", b"BZh what?\n", b"PK\n", b"import it\n"])
def test_a_sentence_that_begins_like_a_binary_format_is_text(words: bytes) -> None:
    assert sniff(words).media_type == "text/plain"


def test_rarer_formats_are_found_by_the_signature_collection() -> None:
    assert sniff(b"FLV\x01\x05\0\0\0\x09" + bytes(64)).media_type == "video/x-flv"


def test_a_footer_is_looked_for_in_the_tail() -> None:
    image = bytes(range(1, 256)) * 400

    found = sniff_cut(image, bytes(100) + b"TRUEVISION-XFILE.\x00")

    assert found.media_type == "image/tga"


def test_parquet_needs_its_mark_at_both_ends() -> None:
    body = b"PAR1" + bytes(100)

    assert sniff(body + b"PAR1").media_type == "application/vnd.apache.parquet"
    assert sniff(body).media_type != "application/vnd.apache.parquet"


def test_json_cut_by_the_end_of_the_sample_is_still_json() -> None:
    document = b'{"rows": [' + b'{"key": "some value", "n": 12.5},' * 8000

    assert sniff_cut(document[:200_000], b'{"key": 1}]}').media_type == "application/json"


@pytest.mark.parametrize(
    "data", [b"[section]\nkey=1\n", b"{curly} words\n", b'{"a": 1} and more\n', b"[1]: http://x\n"]
)
def test_text_in_brackets_is_not_json(data: bytes) -> None:
    assert sniff(data).media_type == "text/plain"


@pytest.mark.parametrize("data", [b"[" * 60_000, b"[" + b"9" * 60_000 + b"]"])
def test_json_beyond_the_parser_is_text(data: bytes) -> None:
    assert sniff(data).media_type == "text/plain"


def test_text_of_a_rarer_kind_may_also_be_called_plain() -> None:
    found = sniff(b"BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n")

    assert found.media_type == "text/calendar"
    assert "text/plain" in found.candidates
