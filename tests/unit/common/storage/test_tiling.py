"""Receipts cover a file exactly, or it is known what is missing."""

from common.chunking import ChunkPlan
from common.storage.base import Receipt
from common.storage.tiling import chunks_in, cover, leading, tile


def receipts(*spans: tuple[int, int]) -> list[Receipt]:
    return [Receipt(start, end - start, crc) for crc, (start, end) in enumerate(spans)]


def test_pieces_come_in_order_without_holes() -> None:
    found = tile(receipts((10, 20), (0, 10), (20, 25)), 25)
    assert [piece.offset for piece in found.pieces] == [0, 10, 20]
    assert found.holes == []


def test_receipts_cover_a_file_only_in_order_without_holes_and_to_its_end() -> None:
    assert cover(receipts((0, 10), (10, 25)), 25)
    assert cover([], 0)
    for some in ([(0, 10)], [(0, 10), (11, 25)], [(0, 10), (10, 26)], [(0, 11), (10, 25)], [(10, 25), (0, 10)]):
        assert not cover(receipts(*some), 25)


def test_gaps_at_the_start_in_the_middle_and_at_the_end_are_holes() -> None:
    assert tile(receipts((5, 10), (15, 20)), 25).holes == [(0, 5), (10, 15), (20, 25)]


def test_an_empty_file_has_no_holes() -> None:
    assert tile([], 0).holes == []


def test_two_receipts_for_one_segment_are_both_refused() -> None:
    found = tile([Receipt(0, 10, 1), Receipt(0, 10, 2), Receipt(10, 10, 3)], 20)
    assert found.pieces == [Receipt(10, 10, 3)]
    assert found.holes == [(0, 10)]


def test_receipts_that_overlap_in_a_chain_are_all_refused() -> None:
    assert tile(receipts((0, 10), (5, 15), (14, 20), (20, 30)), 30).holes == [(0, 20)]


def test_a_receipt_across_the_end_is_refused() -> None:
    assert tile(receipts((0, 10), (10, 21)), 20).holes == [(10, 20)]


def test_receipts_behind_the_end_and_empty_ones_say_nothing() -> None:
    assert tile(receipts((0, 20), (20, 30), (5, 5)), 20).holes == []


def test_spans_are_told_in_chunks() -> None:
    assert chunks_in([(0, 1), (9, 11), (25, 26)], ChunkPlan(26, 10)) == [0, 1, 2]
    assert chunks_in([(10, 20)], ChunkPlan(26, 10)) == [1]


def test_those_up_to_the_first_hole_lead() -> None:
    pieces = receipts((0, 10), (10, 20), (25, 30))
    assert leading(pieces) == pieces[:2]
    assert leading(pieces[1:]) == []
