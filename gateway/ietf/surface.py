"""The surface of resumable uploads as the gateway knows it."""

from __future__ import annotations

from gateway.ietf import creation, routes
from gateway.surface import Surface


def _streams(method: str, path: str) -> bool:
    del path
    return method in ("POST", "PUT", "PATCH")


IETF = Surface("ietf", creation.PREFIX, (creation.router, routes.router), _streams)
