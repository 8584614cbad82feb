"""Reading an object piece by piece; a connection that breaks is opened again where it stopped."""

from __future__ import annotations

from typing import Any

from common.errors import StorageUnavailable
from common.storage.s3.client import FAILURES, PRECONDITION, Client, Refusal

READ_SIZE = 1024 * 1024  # bytes that one reader holds
TRIES = 4  # in a row without a byte


class ObjectReader:
    """An iterator over a range of an object, always of the same version of it. Close it with `aclose`."""

    def __init__(self, client: Client, key: str, start: int, length: int) -> None:
        self._client = client
        self._key = key
        self._position = start
        self._end = start + length
        self._etag: str | None = None
        self._body: Any = None

    async def open(self) -> None:
        """Raises FileNotFoundError when the object, or any of these bytes, is not there."""
        if self._position < self._end:
            await self._request()
            return
        head = await self._client.call("head_object", Key=self._key)
        if int(head["ContentLength"]) < self._end:
            raise FileNotFoundError(self._key)

    def __aiter__(self) -> ObjectReader:
        return self

    async def __anext__(self) -> bytes:
        if self._position >= self._end:
            await self.aclose()
            raise StopAsyncIteration
        try:
            piece = await self._next_piece()
        except BaseException:
            await self.aclose()
            raise
        self._position += len(piece)
        return piece

    async def aclose(self) -> None:
        """Let go of the connection. May be called again."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    async def _next_piece(self) -> bytes:
        for _ in range(TRIES):
            try:
                if self._body is None:
                    await self._request()
                piece = await self._gather()
            except FAILURES:
                piece = b""
            if piece:
                return piece
            await self.aclose()
        raise StorageUnavailable("The store breaks off in the middle of a file. Read it again later.")

    async def _gather(self) -> bytes:
        pieces: list[bytes] = []
        gathered = 0
        wanted = min(READ_SIZE, self._end - self._position)
        while gathered < wanted:
            try:
                piece = await self._body.read(wanted - gathered)
            except FAILURES:
                if gathered:
                    await self.aclose()
                    break
                raise
            if not piece:
                break
            pieces.append(piece)
            gathered += len(piece)
        return b"".join(pieces)

    async def _request(self) -> None:
        same = {"IfMatch": self._etag} if self._etag else {}
        span = f"bytes={self._position}-{self._end - 1}"
        try:
            answer = await self._client.call(
                "get_object", Key=self._key, Range=span, handled=PRECONDITION | {"InvalidRange", "416"}, **same
            )
        except Refusal as refusal:
            raise FileNotFoundError(self._key) from refusal  # replaced, or shorter than it should be
        self._body, self._etag = answer["Body"], answer["ETag"]
        total = str(answer.get("ContentRange", "")).rpartition("/")[2]
        if not total.isdecimal() or int(total) < self._end:
            await self.aclose()
            raise FileNotFoundError(self._key)  # a part of a file is no file
