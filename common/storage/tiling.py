"""Do the receipts cover a file exactly, without gaps and overlaps? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.chunking import ChunkPlan
from common.storage.base import Receipt

Span = tuple[int, int]
"""First byte and the byte after the last."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """`pieces`: receipts in order that overlap no other; `holes`: what they leave uncovered of the file."""

    pieces: list[Receipt]
    holes: list[Span]


def cover(receipts: Sequence[Receipt], size: int) -> bool:
    """Whether they follow each other in this order and make up a file of `size` bytes; quick, and nearly always so."""
    position = 0
    for receipt in receipts:
        if receipt.offset != position or receipt.length <= 0:
            return False
        position += receipt.length
    return position == size


def tile(receipts: Iterable[Receipt], size: int) -> Tiling:
    """Lay out receipts over a file of `size` bytes.

    Receipts that overlap each other say two things about the same byte: neither is believed. The same goes for one
    that lies across the end. Those wholly behind the end, and empty ones, say nothing about the file.
    """
    receipts = list(receipts)
    if cover(receipts, size):  # 20 times faster
        return Tiling(receipts, [])
    counting = sorted({receipt for receipt in receipts if receipt.length > 0 and receipt.offset < size})
    alone = [cluster[0] for cluster in _clusters(counting) if len(cluster) == 1]
    pieces = [receipt for receipt in alone if receipt.offset + receipt.length <= size]
    return Tiling(pieces, _holes(pieces, size))


def leading(pieces: Sequence[Receipt]) -> list[Receipt]:
    """Those that follow each other from byte 0 on; `pieces` are in order and overlap no other."""
    found: list[Receipt] = []
    end = 0
    for piece in pieces:
        if piece.offset != end:
            break
        found.append(piece)
        end += piece.length
    return found


def chunks_in(spans: Iterable[Span], plan: ChunkPlan) -> list[int]:
    """Indexes of all chunks that share a byte with one of the spans, in order."""
    return sorted({i for start, end in spans for i in range(plan.index_at(start), plan.index_at(end - 1) + 1)})


def _clusters(receipts: list[Receipt]) -> Iterable[list[Receipt]]:
    cluster: list[Receipt] = []
    reach = 0
    for receipt in receipts:
        if cluster and receipt.offset >= reach:
            yield cluster
            cluster = []
        cluster.append(receipt)
        reach = max(reach, receipt.offset + receipt.length)
    if cluster:
        yield cluster


def _holes(pieces: list[Receipt], size: int) -> list[Span]:
    holes: list[Span] = []
    position = 0
    for piece in pieces:
        if piece.offset > position:
            holes.append((position, piece.offset))
        position = piece.offset + piece.length
    if position < size:
        holes.append((position, size))
    return holes
