"""The companion's routes as the gateway knows them."""

from __future__ import annotations

import re

from gateway.companion import multipart, single
from gateway.surface import Surface

PREFIX = "/s3"
_STREAMS = re.compile(f"PUT {PREFIX}/multipart/[^/]+/[^/]+|POST {PREFIX}/files")


def _streams(method: str, path: str) -> bool:
    return _STREAMS.fullmatch(f"{method} {path}") is not None


COMPANION = Surface("companion", PREFIX, (multipart.router, single.router), _streams)
