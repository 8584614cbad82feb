"""The error shapes of the OpenAPI document: which codes a route may answer with, from the exception tree."""

from __future__ import annotations

from typing import Any

from common import errors
from gateway.api.schemas import Problem
from gateway.problems import MEDIA_TYPE, TYPE_BASE

EVERYWHERE: tuple[type[errors.SluiceError], ...] = (
    errors.InvalidRequest,
    errors.BodyTimeout,
    errors.BodyTooLarge,
    errors.DatabaseUnavailable,
    errors.DatabaseFull,
)


def problems(*kinds: type[errors.SluiceError]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: its own errors and those that every route has, grouped by status, with examples."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in dict.fromkeys((*kinds, *EVERYWHERE)):
        entry = by_status.setdefault(
            kind.status,
            {"description": "", "model": Problem, "content": {MEDIA_TYPE: {"schema": _REFERENCE, "examples": {}}}},
        )
        entry["description"] = ", ".join(filter(None, (entry["description"], f"`{kind.code}`")))
        entry["content"][MEDIA_TYPE]["examples"][kind.code] = {"value": _example(kind)}
    return by_status


_REFERENCE = {"$ref": "#/components/schemas/Problem"}


def _example(kind: type[errors.SluiceError]) -> dict[str, Any]:
    return {
        "type": TYPE_BASE + kind.code,
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "code": kind.code,
        "request_id": "01920000-0000-7000-8000-000000000000",
    }
