"""The tus surface as the gateway knows it."""

from __future__ import annotations

from gateway.surface import Surface
from gateway.tus import creation, routes
from gateway.tus.envelope import PREFIX, Envelope


def _streams(method: str, path: str) -> bool:
    del path
    return method in ("POST", "PATCH")


TUS = Surface("tus", PREFIX, (creation.router, routes.router), _streams, Envelope)
