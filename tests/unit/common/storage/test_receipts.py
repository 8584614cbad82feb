"""Journals and the ledger that merges them."""

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.storage.base import Receipt, Segment
from common.storage.journal import journals, replace_journals
from common.storage.receipts import Ledger, Ledgers
from common.storage.records import RECORD_SIZE, pack

A, B, C = Receipt(0, 10, 1), Receipt(10, 10, 2), Receipt(20, 10, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_ledger_sees_what_others_append(folder: Path) -> None:
    one, other = Ledger(folder), Ledger(folder)
    one.append(B, durable=False)
    assert other.receipts() == [B]
    other.append(A, durable=False)
    one.append(C, durable=False)
    assert one.receipts() == other.receipts() == [A, B, C]
    assert len(journals(folder)) == 2


def test_a_ledger_reads_only_what_is_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = Ledger(folder), Ledger(folder)
    writer.append(A, durable=False)
    reader.receipts()
    read: list[int] = []
    pread = os.pread

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        read.append(count)
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    reader.receipts()
    writer.append(B, durable=False)
    assert reader.receipts() == [A, B]
    assert read == [RECORD_SIZE]


def test_a_torn_tail_hides_only_itself(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.append(A, durable=False)
    with journals(folder)[0].open("ab") as journal:
        journal.write(pack(B)[:-1])
    assert Ledger(folder).receipts() == ledger.receipts() == [A]


def test_a_record_seen_in_part_counts_once_it_is_whole(folder: Path) -> None:
    writer, reader = Ledger(folder), Ledger(folder)
    writer.append(A, durable=False)
    with journals(folder)[0].open("ab", buffering=0) as journal:
        journal.write(pack(B)[:7])
        assert reader.receipts() == [A]
        journal.write(pack(B)[7:])
    assert reader.receipts() == [A, B]


def test_a_short_write_ends_the_journal_and_the_next_receipt_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(folder)
    ledger.append(A, durable=False)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, record: write(descriptor, record[:5]))
        with pytest.raises(OSError, match="cut") as failed:
            ledger.append(B, durable=False)
    assert failed.value.errno == errno.ENOSPC
    ledger.append(C, durable=False)
    assert ledger.receipts() == Ledger(folder).receipts() == [A, C]


def test_a_receipt_whose_sync_failed_does_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, reader = Ledger(folder), Ledger(folder)
    ledger.append(A, durable=True)

    def seen_and_failed(descriptor: int) -> None:
        assert reader.receipts() == [A, B]
        failing_sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", seen_and_failed)
        with pytest.raises(OSError, match="sync"):
            ledger.append(B, durable=True)
    assert ledger.receipts() == reader.receipts() == [A]
    ledger.append(C, durable=True)
    assert ledger.receipts() == reader.receipts() == [A, C]


def test_a_failed_sync_takes_back_what_others_wrote_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(folder)
    ledger.append(A, durable=True)
    journal = ledger._journal  # the promise is about two threads at one point, which only the parts can show
    descriptor, current = journal._open()
    journal._write(descriptor, current, pack(B))
    os.close(descriptor)
    monkeypatch.setattr(os, "fdatasync", failing_sync)
    with pytest.raises(OSError, match="sync"):
        ledger.append(C, durable=True)
    with pytest.raises(OSError, match="durable"):
        journal._sync(descriptor, current, 2 * RECORD_SIZE)
    assert ledger.receipts() == [A]


def test_parallel_receipts_are_all_kept(folder: Path) -> None:
    ledger = Ledger(folder)
    expected = [Receipt(offset, 1, offset) for offset in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda receipt: ledger.append(receipt, durable=True), expected))
    assert ledger.receipts() == Ledger(folder).receipts() == expected
    assert len(journals(folder)) == 1


def test_putting_away_keeps_only_what_is_named(folder: Path) -> None:
    one, other = Ledger(folder), Ledger(folder)
    one.append(A, durable=False)
    other.append(B, durable=False)
    assert one.receipts() == [A, B]
    replace_journals(folder, [B], durable=True)
    assert one.receipts() == other.receipts() == [B]
    one.append(C, durable=False)
    assert one.receipts() == other.receipts() == [B, C]


def test_putting_all_away_leaves_nothing(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.append(A, durable=False)
    replace_journals(folder, [], durable=True)
    assert ledger.receipts() == []
    assert list(folder.iterdir()) == []


def test_a_name_is_never_used_for_two_journals(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.append(A, durable=False)
    before = journals(folder)
    replace_journals(folder, [], durable=False)
    ledger.append(B, durable=False)
    assert set(journals(folder)).isdisjoint(before)
    assert ledger.receipts() == [B]


@pytest.mark.parametrize("stage", ["write", "unlink"])
def test_a_crash_while_putting_away_leaves_every_receipt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    ledger = Ledger(folder)
    for receipt in (A, B):
        ledger.append(receipt, durable=False)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename" if stage == "write" else "unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            replace_journals(folder, [A], durable=True)
    assert ledger.receipts() == Ledger(folder).receipts() == [A, B]


def test_receipts_are_found_by_the_bytes_they_share(folder: Path) -> None:
    ledger = Ledger(folder)
    for receipt in (A, C):
        ledger.append(receipt, durable=False)
    found = {span: list(ledger.touching(Segment(*span))) for span in [(0, 10), (9, 1), (10, 10), (10, 11), (0, 99)]}
    assert found == {(0, 10): [A], (9, 1): [A], (10, 10): [], (10, 11): [C], (0, 99): [A, C]}


def test_a_reading_that_is_disturbed_every_time_gives_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(folder)
    names: Iterator[int] = iter(range(100))
    monkeypatch.setattr("common.storage.receipts.journals", lambda _: [folder / f"receipts-{next(names)}.log"])
    with pytest.raises(OSError, match="change all the time"):
        ledger.receipts()


def test_ledgers_are_forgotten_by_number_of_uploads_and_of_receipts(tmp_path: Path) -> None:
    ledgers = Ledgers(most_uploads=2, most_receipts=3)
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    first = ledgers.of(folders[0])
    second = ledgers.of(folders[1])
    assert ledgers.of(folders[0]) is first
    ledgers.of(folders[2])
    assert ledgers.of(folders[0]) is first
    assert ledgers.of(folders[1]) is not second
    for offset in range(4):
        first.append(Receipt(offset, 1, 0), durable=False)
    first.receipts()
    ledgers.of(folders[1])
    assert ledgers.of(folders[0]) is not first


def failing_sync(_: int) -> None:
    raise OSError(errno.EIO, "sync failed")
