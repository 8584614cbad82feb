"""Image sizes from headers."""

import struct
import time

import pytest

from worker.attributes.image import MAX_SIDE, read_dimensions


@pytest.mark.parametrize("kind", ["png", "gif", "jpeg", "webp", "bmp", "tiff", "heic"])
def test_width_and_height_stand_in_the_header(samples: dict[str, bytes], kind: str) -> None:
    assert read_dimensions(samples[kind], f"image/{kind}") == (640, 480)


@pytest.mark.parametrize("kind", ["png", "gif", "jpeg", "webp", "bmp", "tiff", "heic"])
def test_a_cut_header_has_no_size(samples: dict[str, bytes], kind: str) -> None:
    assert read_dimensions(samples[kind][:9], f"image/{kind}") is None


@pytest.mark.parametrize("side", [0, MAX_SIDE + 1, 2**32 - 1])
def test_a_side_that_no_picture_has_is_not_believed(side: int) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">LL", side, 10) + b"\x08\x06\0\0\0"

    assert read_dimensions(header, "image/png") is None


def test_a_drawing_has_no_pixels(samples: dict[str, bytes]) -> None:
    assert read_dimensions(samples["svg"], "image/svg+xml") is None


def test_a_bitmap_with_the_old_header_is_left_out() -> None:
    header = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 3, 2, 1, 24) + bytes(16)

    assert read_dimensions(header, "image/bmp") is None


def test_a_header_made_to_be_costly_is_read_in_no_time(costly_heic: bytes) -> None:
    started = time.process_time()

    size = read_dimensions(costly_heic, "image/heic")

    assert size == (640, 480)
    assert time.process_time() - started < 0.5
