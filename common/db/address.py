"""The database URL of the settings: what it may say, and what the drivers are told."""

from __future__ import annotations

import ssl
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")  # as libpq has them


def parse_database_url(url: str) -> URL:
    """The URL as SQLAlchemy reads it, with our drivers.

    Raises ValueError that names what is wrong and shows nothing of the URL: it may hold a password.
    """
    if not url.startswith(("sqlite:///", "postgresql://")):
        raise ValueError("must start with sqlite:/// or postgresql://")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ValueError("is not a URL such as postgresql://user:password@host:5432/name") from error
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    kind = parsed.get_backend_name()
    _check_query(parsed, ("host", "sslmode", "sslrootcert") if kind == "postgresql" else ())
    connection_address(parsed)
    return parsed.set(drivername=_DRIVERS[kind])


def _check_query(url: URL, known: tuple[str, ...]) -> None:
    for name, value in url.query.items():
        if name not in known:
            taken = ", ".join(known) or "none"
            raise ValueError(f"unknown parameter {name[:40]!r} after the '?'; known here: {taken}")
        if not isinstance(value, str) or not value:
            raise ValueError(f"the parameter {name} needs one value")
    mode = url.query.get("sslmode", _SSL_MODES[0])
    if mode not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")


def connection_address(url: URL) -> tuple[URL, dict[str, Any]]:
    """What SQLAlchemy is told of a PostgreSQL URL, and what asyncpg is told beside it: it calls `sslmode` `ssl`.

    Raises ValueError for authorities that cannot be read.
    """
    mode, authorities = url.query.get("sslmode"), url.query.get("sslrootcert")
    bare = url.difference_update_query(["sslmode", "sslrootcert"])
    if authorities is not None and not str(mode).startswith("verify-"):
        raise ValueError("sslrootcert needs sslmode=verify-ca or sslmode=verify-full")
    if mode is None:
        return bare, {}
    return bare, {"ssl": _ssl(str(mode), str(authorities) if authorities else None)}


def _ssl(mode: str, authorities: str | None) -> str | ssl.SSLContext:
    """The modes that verify trust `authorities` (a PEM file) alone, or what the system trusts."""
    if not mode.startswith("verify-"):
        return mode
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:  # an SSLError is one
        raise ValueError(f"sslrootcert: {error.strerror or error}") from error
    context.check_hostname = mode == "verify-full"
    return context
