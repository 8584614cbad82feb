"""What the drivers are told of a database URL."""

import ssl

import pytest

from common.db.address import connection_address, parse_database_url


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_sslmode_is_told_to_the_driver_under_its_own_name(mode: str) -> None:
    url, options = connection_address(parse_database_url(f"postgresql://u:p@h:5433/d?sslmode={mode}"))
    assert options == {"ssl": mode}
    assert (url.drivername, url.port, dict(url.query)) == ("postgresql+asyncpg", 5433, {})


@pytest.mark.parametrize(("mode", "hostname"), [("verify-ca", False), ("verify-full", True)])
def test_the_modes_that_verify_bring_a_context(mode: str, hostname: bool) -> None:
    _, options = connection_address(parse_database_url(f"postgresql://h/d?sslmode={mode}"))
    assert (options["ssl"].verify_mode, options["ssl"].check_hostname) == (ssl.CERT_REQUIRED, hostname)


def test_without_sslmode_the_driver_decides() -> None:
    url, options = connection_address(parse_database_url("postgresql://u:@/d?host=/run/pg"))
    assert (options, dict(url.query)) == ({}, {"host": "/run/pg"})


def test_a_sqlite_path_stays_as_it_is() -> None:
    url, options = connection_address(parse_database_url("sqlite:////a b/ö.db"))
    assert (url.database, options) == ("/a b/ö.db", {})
