"""Parts laid over pieces; the log of a stream as it is written down."""

from hypothesis import given
from hypothesis import strategies as st

from common.chunking import ChunkPlan
from common.storage.base import ObjectKey, UploadShape
from common.storage.s3.composing import Stretch, cut
from common.storage.s3.keys import LifeKeys, offset_of_entry
from common.storage.s3.receipts import Part
from common.storage.s3.records import Begun, Entry, StoredPiece


def pieces_of(*lengths: int) -> list[StoredPiece]:
    """Pieces behind each other; their keys say which they are."""
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    return [
        StoredPiece(start, length, 0, str(i)) for i, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def test_a_part_that_is_one_piece_is_that_piece() -> None:
    found = cut(pieces_of(8, 4), ChunkPlan(12, 8))
    assert [cutting.stretches for cutting in found] == [(Stretch("0", 0, 8, whole=True),), (Stretch("1", 0, 4),)]


def test_a_part_within_one_piece_is_a_stretch_of_it() -> None:
    found = cut(pieces_of(12), ChunkPlan(12, 8))
    assert found[0].stretches == (Stretch("0", 0, 8, whole=False),)
    assert found[1].stretches == (Stretch("0", 8, 4, whole=False),)


def test_a_part_is_made_when_the_store_has_these_bytes_as_far_as_it_tells() -> None:
    [cutting] = cut(pieces_of(3, 3), ChunkPlan(6, 8))
    assert cutting.crc64 == 0
    assert cutting.is_made(Part(1, 6, "etag", 0))
    assert cutting.is_made(Part(1, 6, "etag", None))
    assert not cutting.is_made(Part(1, 6, "etag", 1))
    assert not cutting.is_made(Part(1, 5, "etag", None))
    assert not cutting.is_made(None)


def test_nobody_knows_the_checksum_of_a_piece_that_was_cut() -> None:
    assert [cutting.crc64 for cutting in cut(pieces_of(12), ChunkPlan(12, 8))] == [None, None]


def test_small_pieces_are_joined() -> None:
    found = cut(pieces_of(3, 3, 3), ChunkPlan(9, 8))
    assert found[0].stretches == (Stretch("0", 0, 3), Stretch("1", 0, 3), Stretch("2", 0, 2, whole=False))
    assert found[1].stretches == (Stretch("2", 2, 1, whole=False),)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 60))
def test_the_parts_are_the_file(lengths: list[int], part: int) -> None:
    content = bytes(index % 251 for index in range(sum(lengths)))
    pieces = pieces_of(*lengths)
    found = cut(pieces, ChunkPlan(len(content), part))
    made = b""
    for cutting in found:
        stretches = [
            content[pieces[int(s.key)].offset + s.skip : pieces[int(s.key)].offset + s.skip + s.length]
            for s in cutting.stretches
        ]
        assert len(b"".join(stretches)) == cutting.length
        made += b"".join(stretches)
    assert made == content
    assert [cutting.number for cutting in found] == list(range(1, len(found) + 1))


def test_entries_come_back_as_they_were() -> None:
    entry = Entry(5, (StoredPiece(5, 2, 2**64 - 1, "a"), StoredPiece(7, 1, 0, "b")))
    assert Entry.unpack(entry.pack()) == entry
    assert entry.end == 8
    assert Entry.unpack(Entry(8, (), closed=True).pack()).closed


def test_entries_are_listed_in_the_order_of_their_offsets() -> None:
    keys = LifeKeys("u/life/")
    offsets = (10, 9, 10**15, 0)
    assert [offset_of_entry(key) for key in sorted(map(keys.entry, offsets))] == sorted(offsets)


def test_the_version_before_reads_what_has_begun_unless_it_is_a_stream() -> None:
    target = ObjectKey("tenant", "id")
    assert b"stream" not in Begun.of("life", UploadShape(5, 5, target)).pack()
    stream = Begun.of("life", UploadShape(5, 5, target, stream=True))
    assert Begun.unpack(stream.pack()) == stream
    assert not stream.single
