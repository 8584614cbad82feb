"""The journal format: what is read back, and where reading stops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.storage.base import Receipt
from common.storage.records import RECORD_SIZE, pack, unpack

NUMBER = st.integers(0, 2**64 - 1)
RECEIPTS = st.lists(st.builds(Receipt, NUMBER, NUMBER, NUMBER), max_size=20)
TWO = [Receipt(0, 10, 1), Receipt(10, 20, 2)]


@given(RECEIPTS)
def test_what_was_packed_is_unpacked(receipts: list[Receipt]) -> None:
    assert unpack(b"".join(map(pack, receipts))) == receipts


@pytest.mark.parametrize("torn", range(1, RECORD_SIZE))
def test_a_torn_tail_is_ignored(torn: int) -> None:
    journal = b"".join(map(pack, TWO))
    assert unpack(journal[:-torn]) == TWO[:1]


@pytest.mark.parametrize("position", range(RECORD_SIZE))
def test_nothing_counts_from_a_flipped_bit_on(position: int) -> None:
    journal = bytearray(b"".join(map(pack, TWO)))
    journal[position] ^= 1
    assert unpack(bytes(journal)) == []


def test_zeros_are_no_receipts() -> None:
    assert unpack(bytes(4 * RECORD_SIZE)) == []
