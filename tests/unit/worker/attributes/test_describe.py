"""The attributes of a file as a whole."""

import json
import time
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.attributes import Attributes, describe, line_counter_for

BOUND = timedelta(seconds=1)
hostile = settings(
    deadline=BOUND, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
names = st.sampled_from(["a.csv", "a.tsv", "a.png", "a.jpg", "a.heic", "a.tar.gz", "a", ".", ""]) | st.text(max_size=20)
types = st.sampled_from([None, "text/csv", "image/png", "application/json", ";", "/"]) | st.text(max_size=20)


def describe_whole(data: bytes, filename: str = "a", declared: str | None = None) -> Attributes:
    return describe(data, b"", len(data), declared, filename)


def check_bounds(attributes: Attributes) -> None:
    assert "\\u0000" not in json.dumps(attributes, allow_nan=False)
    assert len(json.dumps(attributes)) < 2_000_000
    json.dumps(attributes, ensure_ascii=False).encode("utf-8")


def test_a_csv_is_described() -> None:
    data = "name;größe\r\nMüller;1,5\r\nLee;2,5\r\n".encode("latin-1")

    assert describe_whole(data, "list.csv", "application/vnd.ms-excel") == {
        "detected_type": "text/csv",
        "extension_type": "text/csv",
        "declared_type": "application/vnd.ms-excel",
        "type_mismatch": False,
        "encoding": "iso-8859-1",
        "line_count": 3,
        "line_ending": "crlf",
        "delimiter": ";",
        "has_header": True,
        "column_count": 2,
        "columns": ["name", "größe"],
    }


def test_a_table_in_utf16_is_described() -> None:
    attributes = describe_whole("name\tage\nAnn\t1\nBob\t2\n".encode("utf-16"), "export.txt")

    assert attributes["detected_type"] == "text/tab-separated-values"
    assert attributes["byte_order_mark"] is True
    assert attributes["columns"] == ["name", "age"]


def test_a_picture_is_described(samples: dict[str, bytes]) -> None:
    assert describe_whole(samples["png"], "a.png", "image/png") == {
        "detected_type": "image/png",
        "extension_type": "image/png",
        "declared_type": "image/png",
        "type_mismatch": False,
        "width": 640,
        "height": 480,
    }


def test_an_empty_file_contradicts_no_claim() -> None:
    attributes = describe_whole(b"", "a.png", "text/csv")

    assert attributes["detected_type"] == "inode/x-empty"
    assert attributes["type_mismatch"] is False


@pytest.mark.parametrize(
    ("sample", "filename", "declared"),
    [
        ("elf", "photo.png", None),
        ("elf", "photo", "image/png"),
        ("exe", "report.docx", None),
        ("html", "data.csv", "text/csv"),
        ("plain", "scan.pdf", None),
        ("random", "data.csv", None),
        ("png", "photo.png", "image/jpeg"),
    ],
)
def test_content_that_contradicts_a_claim_is_marked(
    samples: dict[str, bytes], sample: str, filename: str, declared: str | None
) -> None:
    assert describe_whole(samples[sample], filename, declared)["type_mismatch"] is True


@pytest.mark.parametrize(
    ("sample", "filename", "declared"),
    [
        ("docx", "letter.docx", "application/octet-stream"),
        ("ole", "letter.doc", "application/msword"),
        ("gzip", "a.tar.gz", "application/x-gzip"),
        ("csv", "a.txt", "text/plain"),
        ("json", "a.json", "text/plain"),
        ("random", "model.weights", "application/x-own-format"),
        ("jpeg", "a.jpeg", "image/jpg"),
    ],
)
def test_content_that_fits_its_claims_is_not_marked(
    samples: dict[str, bytes], sample: str, filename: str, declared: str
) -> None:
    assert describe_whole(samples[sample], filename, declared)["type_mismatch"] is False


def test_a_format_that_happens_to_be_printable_has_no_encoding() -> None:
    assert "encoding" not in describe_whole(b"%PDF-1.4\n1 0 obj\nendobj\n")


def test_the_lines_of_a_long_text_are_left_to_the_counter() -> None:
    line, size = b"one line of a long log\n", 23 * 1_000_000
    attributes = describe(line * 10_000, line * 100, size, None, "a.log")

    counter = line_counter_for(attributes)

    assert counter is not None
    for _ in range(10):
        counter.update(line * 1000)
    assert counter.result() == {"line_count": 10_000, "line_ending": "lf"}
    assert "line_count" not in attributes


def test_nothing_is_left_to_count_for_a_short_text_or_a_picture(samples: dict[str, bytes]) -> None:
    assert line_counter_for(describe_whole(samples["plain"])) is None
    assert line_counter_for(describe_whole(samples["png"])) is None


@hostile
@given(head=st.binary(max_size=3000), tail=st.binary(max_size=100), longer=st.booleans(), name=names, declared=types)
def test_random_bytes_are_described(head: bytes, tail: bytes, longer: bool, name: str, declared: str | None) -> None:
    check_bounds(describe(head, tail, 10**11 if longer else len(head), declared, name))


@hostile
@given(data=st.data(), name=names)
def test_damaged_headers_are_described(samples: dict[str, bytes], data: st.DataObject, name: str) -> None:
    damaged = bytearray(samples[data.draw(st.sampled_from(sorted(samples)))])
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=12)
    ):
        damaged[position] = value
    cut = data.draw(st.integers(0, len(damaged)))

    check_bounds(describe_whole(bytes(damaged[:cut]), name))


@hostile
@given(text=st.text(alphabet="\"',;|\t\r\n a1\0é\\", max_size=400), repeat=st.integers(1, 200), longer=st.booleans())
def test_odd_csv_is_described(text: str, repeat: int, longer: bool) -> None:
    data = (text * repeat).encode()

    check_bounds(describe(data, data[-100:], len(data) + longer, "text/csv", "a.csv"))


@hostile
@given(raw=st.binary(max_size=400).map(lambda raw: raw.translate(None, bytes(range(32)))), repeat=st.integers(1, 60))
def test_text_in_no_known_encoding_is_described(raw: bytes, repeat: int) -> None:
    check_bounds(describe_whole(raw * repeat, "a.txt"))


@pytest.mark.parametrize(
    "unit",
    [
        b'"', b",", b";", b"\n", b"\r", b"[", b'{"', b"<!--", b"<", b" ", b'",\'', b"\xe9", b"\xff\xfe", b"\x80a",
        b"a,\n", b'"\n', b"1.", b"\xff\xe1\0\2", b"\xff", b"\0", b"\x1b", b"<svg ", b"9",
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", [b"", b"\xff\xd8\xff\xe0", b"II*\0\x08\0\0\0", b"\0\0\0\x18ftypheic", b"[", b"<"])
def test_a_sample_of_one_thing_repeated_takes_bounded_time(prefix: bytes, unit: bytes) -> None:
    data = prefix + unit * (300_000 // len(unit))

    def seconds() -> float:
        started = time.thread_time()
        check_bounds(describe(data, data[-4096:], 10**11, "text/csv", "a.csv"))
        return time.thread_time() - started

    assert any(seconds() < BOUND.total_seconds() for _ in range(3))  # others slow down the processor's caches, too
