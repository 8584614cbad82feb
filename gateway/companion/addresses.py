"""Addresses that are handed out: whole ones, because a page of another origin uses them."""

from __future__ import annotations

from fastapi import Request

from gateway.assembly import Services


def whole_address(request: Request, path: str) -> str:
    """`path` (from `/`) on this service as the client sees it: where nobody says better, as it called us."""
    services: Services = request.state.services
    found = services.locations.of(path, request.headers, request.scope.get("client"))
    return str(request.base_url).rstrip("/") + path if found == path else found
