"""Addresses that are handed out: what the client has to call, seen from its side.

`Location` of the surfaces whose clients keep addresses is the public address where one is set; else what a trusted
proxy says; else a path, which every client resolves against the address that it called (RFC 9110 section 10.2.2). All
other links are paths, behind that of the public address: a proxy that strips one is the only way to us then. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from common.settings import HttpSettings
from common.settings_addresses import UNIX

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
# possessive, and no name begins in the middle of another: a client behind the proxy may decide what is matched
_LETTER = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_PAIR = re.compile(rf"""(?<!{_LETTER})({_LETTER}++)=(?:"((?:[^"\\]|\\.)*+)"|([^";,\s]*+))""")
_SCHEMES = frozenset({"http", "https"})

Peer = Sequence[object] | None
"""`scope["client"]`: address and port, None for a unix socket."""


class Locations:
    """How this service is reached; see the module."""

    def __init__(self, settings: HttpSettings) -> None:
        self._public_url = settings.public_url
        self.prefix = urlsplit(settings.public_url).path
        """What stands in front of our paths as clients see them; begins with a slash, or is empty."""
        self._unix = UNIX in settings.trusted_proxies
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(name, strict=False) for name in settings.trusted_proxies if name != UNIX
        ]

    def of(self, path: str, headers: Headers, peer: Peer) -> str:
        """The address of `path`, which begins with a slash."""
        if self._public_url:
            return self._public_url + path
        if not self._trusted(peer):
            return path
        told = _standard(headers) | _customary(headers)
        if len(told) != 1:
            return path
        ((scheme, host),) = told
        return f"{scheme}://{host}{path}" if scheme in _SCHEMES and _HOST.fullmatch(host) else path

    def _trusted(self, peer: Peer) -> bool:
        if not peer or not peer[0]:
            return self._unix
        try:
            address = ip_address(str(peer[0]))
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


# Both give (scheme, host) as the nearest proxy has seen them, or nothing. That is in the last element: what stands
# before it may be the client's own invention. So may the whole of one, where the proxy sets the other: they have to
# agree.


def _standard(headers: Headers) -> set[tuple[str, str]]:
    """Of `Forwarded` (RFC 7239 section 4)."""
    pairs = dict(_last_element(headers.getlist("forwarded")))
    return {(pairs["proto"].lower(), pairs.get("host") or headers.get("host", ""))} if "proto" in pairs else set()


def _customary(headers: Headers) -> set[tuple[str, str]]:
    """Of `X-Forwarded-Proto` and `X-Forwarded-Host`."""
    scheme = _last(headers.getlist("x-forwarded-proto"))
    host = _last(headers.getlist("x-forwarded-host")) or headers.get("host", "")
    return {(scheme.lower(), host)} if scheme else set()


def _last(lines: list[str]) -> str:
    return ",".join(lines).rpartition(",")[2].strip()


def _last_element(lines: list[str]) -> Iterable[tuple[str, str]]:
    field = ",".join(lines)
    found: list[tuple[str, str]] = []
    end = 0
    for match in _PAIR.finditer(field):
        if "," in field[end : match.start()]:
            found = []  # another element begins
        quoted, plain = match[2], match[3]
        found.append((match[1].lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain))
        end = match.end()
    return found
