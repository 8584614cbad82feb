"""Addresses among the settings: what they may look like. Pure."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import urlsplit

UNIX = "unix"
"""In place of an address: whoever connects by a unix socket."""


def check_public_url(url: str) -> str:
    """`https://host:port/path` without the slash at its end; may be empty."""
    parts = urlsplit(url)
    if url and (not _is_address(url) or parts.query or parts.fragment):
        raise ValueError("must be http://host:port/path or https://host:port/path")
    return url.rstrip("/")


def check_networks(names: tuple[str, ...]) -> tuple[str, ...]:
    """IP addresses, networks in CIDR form, and `unix`."""
    for name in names:
        if name != UNIX:
            try:
                ip_network(name, strict=False)
            except ValueError as error:
                raise ValueError(f"must be addresses, networks such as 10.0.0.0/8, or unix: {error}") from error
    return names


def check_origins(names: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as browsers write them (RFC 6454 section 6.2), or `*`."""
    for name in names:
        if name != "*" and (not _is_address(name) or urlsplit(name).path or name.endswith(("?", "#"))):
            raise ValueError("must be origins such as https://app.example.com, without a path, or *")
    return names


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and parts.username is None
        and url.isprintable()
        and " " not in url
    )
