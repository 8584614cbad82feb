"""The files of the demo are what they claim to be."""

import csv
import hashlib
import zlib
from pathlib import Path

import imagesize
import pytest

from cli.demo.samples import CSV_ROWS, PNG_SIDE, Sample, write_samples


@pytest.fixture
def samples(tmp_path: Path) -> dict[str, Sample]:
    return {sample.path.name: sample for sample in write_samples(tmp_path, big_size=3_000_000)}


def test_sizes_and_digests_are_those_of_the_files(samples: dict[str, Sample]) -> None:
    for sample in samples.values():
        content = sample.path.read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (sample.size, sample.sha256)


def test_the_big_one_has_the_size_asked_for_and_does_not_compress(samples: dict[str, Sample]) -> None:
    assert samples["random.bin"].size == 3_000_000
    assert len(zlib.compress(samples["random.bin"].path.read_bytes())) > 2_990_000


def test_the_table_has_one_header_and_equal_rows(samples: dict[str, Sample]) -> None:
    rows = list(csv.reader(samples["readings.csv"].path.read_text().splitlines()))
    assert len(rows) == CSV_ROWS + 1
    assert {len(row) for row in rows} == {4}


def test_the_picture_is_one(samples: dict[str, Sample]) -> None:
    picture = samples["gradient.png"].path
    assert imagesize.get(picture) == (PNG_SIDE, PNG_SIDE)
    assert picture.read_bytes().endswith(b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big"))


def test_the_empty_one_is_empty(samples: dict[str, Sample]) -> None:
    assert samples["empty.txt"].size == 0
