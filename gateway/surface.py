"""What a surface is: an upload protocol that other people's clients speak, translated to the use cases in `service`.

A surface is a folder of its own beside this module. It owns no state and calls no storage: its routes read header
fields, call `gateway.service`, and write header fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.types import ASGIApp

Envelope = Callable[[ASGIApp], ASGIApp]


def no_streams(method: str, path: str) -> bool:
    """For a surface that takes no file bytes itself."""
    del method, path
    return False


@dataclass(frozen=True, slots=True)
class Surface:
    """`name` stands in `GET /v1/limits`; all addresses of `routers` begin with `prefix`."""

    name: str
    prefix: str
    routers: tuple[APIRouter, ...]
    streams: Callable[[str, str], bool] = no_streams
    """Whether a request of this method and path brings file bytes, whose length the use case bounds; every other body
    is bounded as JSON is."""
    envelope: Envelope | None = None
    """ASGI middleware around every request, also those that no route sees: it has to look at the prefix."""

    def owns(self, path: str) -> bool:
        """Whether the path is an address of this surface."""
        return path == self.prefix or path.startswith(f"{self.prefix}/")
