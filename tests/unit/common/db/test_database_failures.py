"""What drivers raise, in our words: away, full, without tables, or a mistake of our own that must stay visible."""

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from common.db.database import _as_ours
from common.errors import DatabaseFull, DatabaseUnavailable


class DriverError(Exception):
    """As asyncpg's, through SQLAlchemy."""

    def __init__(self, words: str, sqlstate: str | None = None) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


def raised(words: str, sqlstate: str | None = None) -> DBAPIError:
    return OperationalError("SELECT 1", {}, DriverError(words, sqlstate))


@pytest.mark.parametrize(
    ("words", "sqlstate"),
    [
        ("sorry, too many clients already", "53300"),
        ("the database system is in recovery mode", "57P03"),
        ("terminating because of a crash of another server process", "57P02"),
        ("deadlock detected", "40P01"),
        ("cannot execute INSERT in a read-only transaction", "25006"),
        ("connection was closed in the middle of operation", "08003"),
        ("database is locked", None),
        ("disk I/O error", None),
    ],
)
def test_what_passes_by_itself_is_503(words: str, sqlstate: str | None) -> None:
    assert type(_as_ours(raised(words, sqlstate))) is DatabaseUnavailable


@pytest.mark.parametrize(
    ("words", "sqlstate"),
    [("database or disk is full", None), ("could not extend file: No space left on device", "53100")],
)
def test_a_full_disk_under_the_database_is_507(words: str, sqlstate: str | None) -> None:
    error = _as_ours(raised(words, sqlstate))
    assert isinstance(error, DatabaseFull)
    assert error.status == 507


def test_a_database_without_tables_says_what_to_run() -> None:
    error = _as_ours(raised("no such table: uploads"))
    assert error is not None
    assert "sluice migrate" in error.detail


@pytest.mark.parametrize(
    ("words", "sqlstate"), [('syntax error at or near "SELCT"', "42601"), ("no such column", None)]
)
def test_a_mistake_of_ours_is_not_called_an_outage(words: str, sqlstate: str | None) -> None:
    assert _as_ours(raised(words, sqlstate)) is None
