"""Resumable uploads by hand: every field as the test wants it."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

PARTIAL = "application/partial-upload"
TYPES = "https://iana.org/assignments/http-problem-types#"


@dataclass
class Resumable:
    """Speaks one interop version; `fields` of a call replace or, with None, remove those that it would send."""

    http: httpx.Client
    version: int = 8

    def ask(self, method: str, url: str, body: bytes | None = None, /, **fields: str | int | None) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        usual: dict[str, str | int | None] = {"Upload-Draft-Interop-Version": self.version}
        given = {name: str(value) for name, value in {**usual, **named}.items() if value is not None}
        return self.http.request(method, url, content=body, headers=given)

    def says(self, *, complete: bool) -> dict[str, str | int | None]:
        """The field for the end, in the words of the version."""
        if self.version == 3:
            return {"Upload_Incomplete": "?0" if complete else "?1"}
        return {"Upload_Complete": "?1" if complete else "?0"}

    def create(
        self, body: bytes | None = None, complete: bool = False, /, **fields: str | int | None
    ) -> httpx.Response:
        return self.ask("POST", "/resumable", body, **{**self.says(complete=complete), **fields})

    def new(self, **fields: str | int | None) -> str:
        """The address of a new upload without bytes."""
        answer = self.create(**fields)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["location"])

    def patch(
        self, url: str, offset: int | str, body: bytes, complete: bool, /, **fields: str | int | None
    ) -> httpx.Response:
        typed: dict[str, str | int | None] = {"Content_Type": PARTIAL} if self.version >= 6 else {}
        given = {**typed, "Upload_Offset": offset, **self.says(complete=complete), **fields}
        return self.ask("PATCH", url, body, **given)

    def head(self, url: str) -> httpx.Response:
        answer = self.ask("HEAD", url)
        assert answer.status_code == 204, answer
        return answer

    def offset(self, url: str) -> int:
        return int(self.head(url).headers["upload-offset"])
