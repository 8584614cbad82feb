"""The collector of garbage while a process imports what it needs."""

import gc

import pytest

from common.startup import importing


def test_the_collector_rests_while_a_process_imports() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_collector_works_again_after_an_import_that_failed() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_what_was_imported_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    with importing():
        kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() - before >= len(kept)
