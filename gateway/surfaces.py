"""The surfaces beside the native one, in the order in which they are listed. A new one is a folder, and a line here."""

from __future__ import annotations

from starlette.routing import Route

from gateway.companion.surface import COMPANION
from gateway.ietf.surface import IETF
from gateway.surface import Surface
from gateway.tus.surface import TUS

SURFACES: tuple[Surface, ...] = (TUS, IETF, COMPANION)


def names() -> list[str]:
    """For `GET /v1/limits`."""
    return ["native", *(surface.name for surface in SURFACES)]


def take_stream(method: str, path: str) -> bool:
    """Whether some surface streams the body of this request."""
    return any(surface.owns(path) and surface.streams(method, path) for surface in SURFACES)


def methods_of(path: str) -> set[str]:
    """The methods that surfaces know at an address; they are not in the OpenAPI document."""
    return {
        method
        for surface in SURFACES
        if surface.owns(path)
        for router in surface.routers
        for route in router.routes
        if isinstance(route, Route) and route.path_regex.fullmatch(path)
        for method in route.methods or ()
    }
