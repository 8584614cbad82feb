"""What the allocator is told to keep."""

import ctypes
from types import SimpleNamespace

import pytest

from gateway.heap import M_TRIM_THRESHOLD, keep_freed_memory


@pytest.mark.parametrize(("most", "kept"), [(64 * 2**20, 64 * 2**20), (2**31, 2**31 - 1), (4 * 2**30, 2**31 - 1)])
def test_what_is_kept_fits_into_an_int_of_c(most: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[int, int] = {}

    def mallopt(parameter: int, value: int) -> None:
        told[parameter] = ctypes.c_int(value).value  # as ctypes passes it on

    monkeypatch.setattr("gateway.heap.ctypes.CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    keep_freed_memory(most)
    assert told[M_TRIM_THRESHOLD] == kept
