"""Width and height of an image from its header. No pixel is decoded."""

from io import BytesIO

import imagesize

MAX_SIDE = 1_000_000
"""Pixels. No format in common use goes further (JPEG, GIF and WebP end at 65,535, PSD at 300,000): more is a lie."""

_RASTER_TYPES = frozenset(
    {
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jp2",
        "image/jpeg",
        "image/png",
        "image/tiff",
        "image/webp",
    }
)
_BMP_CORE_HEADER = (12).to_bytes(4, "little")


def read_dimensions(head: bytes, media_type: str) -> tuple[int, int] | None:
    """(width, height) in pixels as stored, before any rotation note is applied, or None if the header does not tell.

    `media_type` is the sniffed type: what the bytes are, not what somebody called them. SVG has no pixels and is
    left out. Never raises on what the bytes contain.
    """
    if media_type not in _RASTER_TYPES or (media_type == "image/bmp" and head[14:18] == _BMP_CORE_HEADER):
        return None
    # Without `exif_rotation=False` imagesize walks the HEIF item table, where 2 KB of header can ask for 20 million
    # steps (8 s measured). It answers (-1, -1) instead of raising.
    width, height = imagesize.get(BytesIO(head), exif_rotation=False)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return None
    return int(width), int(height)
