"""tus 1.0 by hand: every field as the test wants it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import httpx

BODY_TYPE = "application/offset+octet-stream"
Body = bytes | object


def metadata(**pairs: str) -> str:
    """A value of `Upload-Metadata`."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


@dataclass
class Tus:
    """Sends requests; `fields` of a call replace or, with None, remove those that every request has."""

    http: httpx.Client
    usual: dict[str, str] = field(default_factory=lambda: {"Tus-Resumable": "1.0.0"})

    def ask(self, method: str, url: str, body: bytes | None = None, /, **fields: str | int | None) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        given = {name: str(value) for name, value in {**self.usual, **named}.items() if value is not None}
        return self.http.request(method, url, content=body, headers=given)

    def create(
        self, length: int | None = None, body: bytes | None = None, /, **fields: str | int | None
    ) -> httpx.Response:
        size = {} if length is None else {"Upload_Length": length}
        typed = {} if body is None else {"Content_Type": BODY_TYPE}
        return self.ask("POST", "/tus", body, **{**size, **typed, **fields})

    def new(self, length: int | None = None, body: bytes | None = None, /, **fields: str | int | None) -> str:
        """The address of a new upload."""
        answer = self.create(length, body, **fields)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["location"])

    def patch(self, url: str, offset: int | str, body: bytes, /, **fields: str | int | None) -> httpx.Response:
        return self.ask("PATCH", url, body, **{"Content_Type": BODY_TYPE, "Upload_Offset": offset, **fields})

    def head(self, url: str, **fields: str | int | None) -> httpx.Response:
        return self.ask("HEAD", url, **fields)

    def offset(self, url: str) -> int:
        answer = self.head(url)
        assert answer.status_code == 200, answer
        return int(answer.headers["upload-offset"])
