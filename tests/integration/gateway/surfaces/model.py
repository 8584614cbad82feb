"""What uploads of both surfaces must look like from outside, whatever is done to them and on which gateway."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import httpx

from tests.integration.gateway.rig import Gateway, until
from tests.integration.gateway.tus.client import BODY_TYPE

PARTIAL = "application/partial-upload"
Kind = Literal["tus", "ietf"]


class State(StrEnum):
    OPEN = "open"
    COMPLETE = "complete"
    ENDED = "ended"


@dataclass(eq=False)
class Expected:
    """One upload. `data` are the bytes that the service has acknowledged, or must have kept."""

    kind: Kind
    url: str
    size: int | None
    partial: bool = False
    parts: list[Expected] = field(default_factory=list)
    data: bytes = b""
    state: State = State.OPEN

    @property
    def id(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def room(self) -> int:
        """Bytes that may come; some, where the size is not known."""
        return 30_000 if self.size is None else self.size - len(self.data)

    @property
    def waiting(self) -> bool:
        """Whether this is a final upload, some parts of which have not arrived."""
        return any(part.size != len(part.data) for part in self.parts)

    def add(self, data: bytes) -> None:
        """tus is complete when the size is reached; the draft says so by itself."""
        self.data += data
        if self.kind == "tus" and not self.partial and self.size == len(self.data):
            self.state = State.COMPLETE


class Uploads:
    """Does to the gateways what a client would, and to the model what should come of it."""

    def __init__(self, gateways: list[Gateway], seed: int) -> None:
        self.gateways = gateways
        self.random = random.Random(seed)

    def some(self, count: int) -> bytes:
        return self.random.randbytes(count)

    def ask(self, gateway: int, method: str, url: str, body: bytes = b"", /, **fields: object) -> httpx.Response:
        given = {name.replace("_", "-"): str(value) for name, value in fields.items()}
        return self.gateways[gateway].http.request(method, url, content=body, headers=given)

    def create(self, gateway: int, kind: Kind, size: int | None, *, partial: bool = False) -> Expected:
        fields: dict[str, object] = {} if size is None else {"Upload_Length": size}
        if kind == "ietf":
            answer = self.ask(gateway, "POST", "/resumable", Upload_Complete="?0", **fields)
        else:
            fields |= {"Upload_Defer_Length": 1} if size is None else {}
            fields |= {"Upload_Concat": "partial"} if partial else {}
            answer = self.ask(gateway, "POST", "/tus", Tus_Resumable="1.0.0", **fields)
        assert answer.status_code == 201, answer.text
        upload = Expected(kind, answer.headers["location"], size, partial)
        upload.add(b"")
        return upload

    def concatenate(self, gateway: int, parts: list[Expected]) -> httpx.Response:
        concat = f"final;{' '.join(part.url for part in parts)}"
        return self.ask(gateway, "POST", "/tus", Tus_Resumable="1.0.0", Upload_Concat=concat)

    def append(
        self, gateway: int, upload: Expected, offset: int, body: bytes, complete: bool = False, /, **more: object
    ) -> httpx.Response:
        fields = {**self.fields(upload, complete=complete), **more}
        return self.ask(gateway, "PATCH", upload.url, body, Upload_Offset=offset, **fields)

    def fields(self, upload: Expected, *, complete: bool = False) -> dict[str, str | int]:
        if upload.kind == "tus":
            return {"Tus_Resumable": "1.0.0", "Content_Type": BODY_TYPE}
        return {"Upload_Complete": "?1" if complete else "?0", "Content_Type": PARTIAL}

    def head(self, gateway: int, upload: Expected) -> httpx.Response:
        fields = {"Tus_Resumable": "1.0.0"} if upload.kind == "tus" else {}
        return self.ask(gateway, "HEAD", upload.url, **fields)

    def delete(self, gateway: int, upload: Expected) -> httpx.Response:
        fields = {"Tus_Resumable": "1.0.0"} if upload.kind == "tus" else {}
        return self.ask(gateway, "DELETE", upload.url, **fields)

    def cut(self, gateway: int, upload: Expected, sent: bytes, /, **more: str | int) -> None:
        """An append that announces more than it sends, and is gone; returns when the service has noticed."""
        before = self.stored(upload)
        with self.gateways[gateway].wire() as wire:
            fields = {**self.fields(upload), **more}
            wire.head(
                f"PATCH {upload.url}",
                Content_Length=len(sent) + 1,
                Upload_Offset=len(upload.data),
                Expect="100-continue",
                **fields,
            )
            assert wire.answer().status_code == 100
            wire.send(sent)
        if not more:
            until(lambda: self.stored(upload) == before + len(sent))

    def stored(self, upload: Expected) -> int:
        return int(self.gateways[0].look({"id": upload.id})["received_bytes"])

    def check(self, gateway: int, upload: Expected) -> None:
        """HEAD says what the model says."""
        answer = self.head(gateway, upload)
        if upload.state == State.ENDED:
            assert answer.status_code == 410, upload
            return
        assert answer.status_code in (200, 204), upload
        assert answer.headers["upload-offset"] == str(len(upload.data)), upload
        assert answer.headers.get("upload-length") == (None if upload.size is None else str(upload.size)), upload
        if upload.kind == "ietf":
            assert answer.headers["upload-complete"] == ("?1" if upload.state == State.COMPLETE else "?0"), upload

    def check_file(self, upload: Expected, data: bytes) -> None:
        """The upload has become a file of exactly these bytes. Needs a worker."""
        gateway = self.gateways[0]
        self.head(0, upload)  # the last part of a final one may just have come
        job = gateway.ended(gateway.look({"id": upload.id})["job_id"])
        assert job["state"] == "succeeded", job
        file = gateway.http.get(job["links"]["file"]).json()
        assert (file["size"], file["digests"]["sha-256"]) == (len(data), hashlib.sha256(data).hexdigest())
