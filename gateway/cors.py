"""Which pages may use this service from a browser (the CORS protocol of the Fetch standard), for all surfaces.

Nothing here depends on cookies, so no credentials are asked for, and a page may send any field: what a field may do is
decided where it is read. A preflight is answered here and reaches nothing else.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from common.settings import HttpSettings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REMEMBERED = 7200  # seconds that a browser may keep the answer to a preflight: more than Chromium does

EXPOSED = (
    # what a script may read of an answer, beside the few fields that it may always read
    "Location",
    "Content-Location",
    "Link",
    "ETag",
    "Accept-Ranges",
    "Content-Range",
    "Content-Disposition",
    "Preference-Applied",
    "Retry-After",
    "X-Request-Id",
    "Content-Digest",
    "Repr-Digest",
    "Want-Content-Digest",
    "Want-Repr-Digest",
    "Accept-Patch",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Defer-Length",
    "Upload-Metadata",
    "Upload-Concat",
    "Upload-Expires",
    "Upload-Complete",
    "Upload-Incomplete",
    "Upload-Limit",
    "Upload-Draft-Interop-Version",
    "Tus-Resumable",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
)


def allow_origins(app: FastAPI, settings: HttpSettings) -> None:
    """Add the middleware where an origin is set; without one a browser keeps every other page away."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=("*",),
            expose_headers=EXPOSED,
            max_age=REMEMBERED,
        )
