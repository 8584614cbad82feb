"""Keys are made of ids only and read back; small objects say what they were told."""

import pytest

from common.storage.base import ObjectKey, Receipt, UploadKey, UploadShape
from common.storage.s3.keys import Keys, LifeKeys, part_of_claim
from common.storage.s3.records import Begun, Claim, SealRecord

FILE = ObjectKey("tenant", "01900000-0000-7000-8000-0000000000ff")


def test_a_file_is_found_again_by_its_key() -> None:
    keys = Keys("some/prefix/")
    assert keys.object(FILE) == f"some/prefix/tenant/files/ff/{FILE.file_id}"
    assert keys.object_at("tenant", keys.object(FILE)) == FILE


@pytest.mark.parametrize("key", ["tenant/files/00/0190-ff", "tenant/files/ff", "elsewhere/x", "tenant/files/ff/A B"])
def test_what_is_not_ours_is_no_file(key: str) -> None:
    assert Keys("").object_at("tenant", key) is None


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A", "x" * 65])
def test_no_key_is_built_of_what_is_no_id(name: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        Keys("").upload(UploadKey("tenant", name))
    with pytest.raises(ValueError, match="not an id"):
        Keys("").object(ObjectKey(name, "id"))


def test_claims_are_listed_in_the_order_of_their_parts() -> None:
    keys = LifeKeys("u/life/")
    assert sorted(map(keys.claim, (10, 9, 10_000))) == list(map(keys.claim, (9, 10, 10_000)))
    assert part_of_claim(keys.claim(10_000)) == 10_000


def test_records_come_back_as_they_were() -> None:
    begun = Begun.of("life", UploadShape(None, 5, FILE, direct=True))
    seal = SealRecord.of("multipart", [Receipt(0, 5, 2**64 - 1), Receipt(5, 1, 0)])
    assert Begun.unpack(begun.pack()) == begun
    assert begun.target == FILE
    assert Claim.unpack(Claim(5, 2**64 - 1).pack()) == Claim(5, 2**64 - 1)
    assert SealRecord.unpack(seal.pack()) == seal


def test_the_last_part_is_as_long_as_what_is_left() -> None:
    begun = Begun.of("life", UploadShape(12, 5, FILE))
    assert [begun.length_of(part) for part in (1, 2, 3, 4)] == [5, 5, 2, 0]
    assert Begun.of("life", UploadShape(None, 5, FILE)).length_of(1) is None


@pytest.mark.parametrize(
    ("size", "direct", "single"),
    [(5, False, True), (0, False, True), (6, False, False), (5, True, False), (None, False, False)],
)
def test_one_known_chunk_is_one_object_unless_the_client_sends_it_itself(
    size: int | None, direct: bool, single: bool
) -> None:
    assert Begun.of("life", UploadShape(size, 5, FILE, direct)).single is single
