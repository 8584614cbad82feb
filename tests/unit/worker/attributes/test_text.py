"""Encodings of text samples."""

import pytest

from worker.attributes.text import SAMPLE_BYTES, read_text

WESTERN = "Die Bären größerer Wälder müssen über die Straße; un café très agréable\n"


def encoding_of(data: bytes) -> str | None:
    sample = read_text(data, b"", whole=True)
    return None if sample is None else sample.encoding


@pytest.mark.parametrize(
    ("text", "codec", "encoding"),
    [
        ("plain ascii\n", "ascii", "utf-8"),
        ("zażółć gęślą jaźń\n", "utf-8", "utf-8"),
        ("hello\n", "utf-16", "utf-16le"),
        ("\ufeffhello\n", "utf-16-be", "utf-16be"),
        ("\ufeffhello\n", "utf-32-le", "utf-32le"),
        ("hello without a mark\n", "utf-16-le", "utf-16le"),
        ("hello without a mark\n", "utf-16-be", "utf-16be"),
        (WESTERN, "latin-1", "iso-8859-1"),
        (WESTERN + "“quoted”, 5 €\n", "cp1252", "windows-1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy a další věci\n", "cp1250", "windows-1250"),
        ("Привет, мир! Это просто текст на русском языке.\n", "cp1251", "windows-1251"),
        ("これは日本語のテキストです。テストの文章。\n", "cp932", "shift_jis"),
        ("这是一个中文文本文件,用于测试编码检测。\n", "gb18030", "gb18030"),
    ],
)
def test_the_encoding_of_text_is_named(text: str, codec: str, encoding: str) -> None:
    assert encoding_of(text.encode(codec)) == encoding


def test_a_byte_order_mark_is_reported_and_not_part_of_the_text() -> None:
    sample = read_text(b"\xef\xbb\xbfid,name\n", b"", whole=True)

    assert sample is not None
    assert (sample.encoding, sample.bom, sample.text) == ("utf-8", True, "id,name\n")


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_character_cut_by_the_end_of_the_sample_does_not_hide_utf8(cut: int) -> None:
    data = ("x" * 10 + "😀" * 3).encode()

    sample = read_text(data[:-cut], b"", whole=False)

    assert sample is not None
    assert sample.encoding == "utf-8"


def test_a_character_cut_by_the_end_of_the_file_is_not_utf8() -> None:
    assert encoding_of(b"der letzte Buchstabe fehlt: caf\xe9") != "utf-8"


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_tail_may_begin_inside_a_character(cut: int) -> None:
    tail = "😀 the end\n".encode()[cut:]

    sample = read_text(b"the beginning\n", tail, whole=False)

    assert sample is not None
    assert sample.encoding == "utf-8"


def test_a_latin_tail_decides_for_a_head_of_plain_ascii() -> None:
    sample = read_text(b"id;name\n" * 100, WESTERN.encode("latin-1"), whole=False)

    assert sample is not None
    assert sample.encoding == "iso-8859-1"


def test_a_text_head_before_a_binary_body_is_not_text(samples: dict[str, bytes]) -> None:
    assert read_text(b"#!/bin/sh\nexec tail -n +2\n", samples["random"], whole=False) is None


def test_a_whole_file_longer_than_the_sample_is_checked_to_its_end() -> None:
    assert read_text(b"a" * SAMPLE_BYTES + b"\0\1\2", b"", whole=True) is None


@pytest.mark.parametrize("sample", ["png", "gzip", "elf", "exe", "zip", "random", "ole"])
def test_binary_content_is_not_text(samples: dict[str, bytes], sample: str) -> None:
    assert read_text(samples[sample], b"", whole=True) is None


def test_separators_among_the_control_characters_are_text() -> None:
    assert encoding_of(b"8=FIX.4.2\x0135=D\x0155=ABC\x01price=12\n" * 5) == "utf-8"
