"""Sizes, durations and lists as people write them."""

from typing import Any

import pytest

from common.quantities import parse_names, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("1048576", 2**20), ("1MiB", 2**20), ("1 mib", 2**20), ("1.5 GB", 1_500_000_000), ("64kb", 64_000),
        (" 5TiB ", 5 * 2**40), ("7b", 7), ("9223372036854775807", 2**63 - 1), (5, 5),
    ],
)  # fmt: skip
def test_sizes(text: Any, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("0.5", 0.5), ("250ms", 0.25), ("15m", 900), ("24h", 86400), ("7d", 604800), ("1 s", 1), (2.5, 2.5)],
)
def test_durations(text: Any, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1XB", "1 M i B", "1,5MB", "0x10", "1e3", "1MiB1", "nan"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="units"):
        parse_size(text)
    with pytest.raises(ValueError, match="units"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [("csv, .PDF,png", ("csv", "pdf", "png")), ("", ()), (" , ", ()), ("tar.gz", ("tar.gz",)), (("a",), ("a",))],
)
def test_names(text: Any, names: tuple[str, ...]) -> None:
    assert parse_names(text) == names
