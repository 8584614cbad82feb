"""Where a stream ends, by its receipts alone."""

import os
from pathlib import Path

import pytest

from common.storage.base import Receipt
from common.storage.journal import replace_journals
from common.storage.receipts import Ledger

A, B, C = Receipt(0, 10, 1), Receipt(10, 5, 2), Receipt(15, 1, 3)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def test_nothing_ends_at_0(ledger: Ledger) -> None:
    assert ledger.end(durable=False) == 0


def test_it_ends_at_the_first_hole(ledger: Ledger) -> None:
    ledger.append(C, durable=False)
    assert ledger.end(durable=False) == 0
    ledger.append(A, durable=False)
    assert ledger.end(durable=False) == 10
    ledger.append(B, durable=False)
    assert ledger.end(durable=False) == 16


def test_what_others_append_counts(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(A, durable=False)
    assert ledger.end(durable=False) == 10
    Ledger(tmp_path).append(B, durable=False)
    assert ledger.end(durable=False) == 15


def test_receipts_that_say_two_things_are_not_believed(ledger: Ledger) -> None:
    ledger.append(A, durable=False)
    ledger.append(Receipt(10, 5, 7), durable=False)
    ledger.append(B, durable=False)
    assert ledger.end(durable=False) == 10


def test_a_receipt_that_another_lies_within_is_not_believed(ledger: Ledger) -> None:
    ledger.append(A, durable=False)
    ledger.append(Receipt(5, 20, 7), durable=False)
    assert ledger.end(durable=False) == 0


def test_receipts_that_were_put_away_do_not_count(ledger: Ledger, tmp_path: Path) -> None:
    for receipt in (A, B, C):
        ledger.append(receipt, durable=False)
    assert ledger.end(durable=False) == 16
    replace_journals(tmp_path, [A], durable=False)
    assert ledger.end(durable=False) == 10


def test_receipts_of_others_are_made_durable_before_they_are_told(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their writer may have died between the record and its sync: a power loss must not take back what was told."""
    synced: list[int] = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)
    Ledger(tmp_path).append(A, durable=False)
    assert ledger.end(durable=True) == 10
    assert len(synced) == 1
    ledger.end(durable=True)
    ledger.append(B, durable=True)
    assert len(synced) == 2
    assert ledger.end(durable=True) == 15
    assert len(synced) == 2
