"""multipart/form-data (RFC 7578) as a stream of parts: nothing is spooled, a file part is read while it arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from common.errors import BodyIncomplete, InvalidRequest, MetadataTooLarge
from gateway.api.fields import disposition_filename


@dataclass(frozen=True, slots=True)
class Event:
    """What the parser saw. It runs ahead of the reader, so a part's headers travel with its beginning."""

    kind: Literal["begin", "data", "end"]
    data: bytes = b""
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A field (`filename` None) or a file. `data` has to be read to its end before the next part can come."""

    name: str
    filename: str | None
    content_type: str | None
    data: AsyncIterator[bytes]


async def read_field(part: Part, most: int) -> str:
    """The whole text of a field of at most `most` bytes."""
    text = bytearray()
    async for piece in part.data:
        text += piece
        if len(text) > most:
            raise MetadataTooLarge(f"The form field {part.name[:64]} may have at most {most} bytes.", limit=most)
    return text.decode("utf-8", "replace")


class FormReader:
    """Drives the callback parser with the pieces of a body and hands out its parts one after the other."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Raises InvalidRequest when the content type names no usable boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise InvalidRequest("multipart/form-data needs a boundary parameter.")
        self._body = body
        self._events: deque[Event] = deque()
        self._headers: dict[str, bytes] = {}
        self._field = b""
        self._value = b""
        self._finished = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers_clear,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": lambda data, start, end: self._events.append(Event("data", data[start:end])),
                    "on_part_end": lambda: self._events.append(Event("end")),
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise InvalidRequest("The boundary of the form is not usable.") from error

    async def parts(self) -> AsyncIterator[Part]:
        """Every part in order. Raises InvalidRequest for a malformed form, BodyIncomplete for one that ends early."""
        while (event := await self._next()) is not None:
            if event.kind != "begin":
                continue
            part = self._part(event.headers)
            yield part
            async for _ in part.data:  # what the reader of the part left
                pass
        if not self._finished:
            raise BodyIncomplete("The form ended before its last boundary; send it again.")

    def _part(self, headers: Mapping[str, bytes]) -> Part:
        disposition = headers.get("content-disposition", b"").decode("latin-1")
        _, options = parse_options_header(disposition)
        named = b"filename" in options or "filename*" in disposition
        content_type = headers.get("content-type", b"").decode("latin-1") or None
        return Part(
            name=options.get(b"name", b"").decode("utf-8", "replace"),
            filename=disposition_filename(disposition) if named else None,
            content_type=content_type,
            data=self._data(),
        )

    async def _data(self) -> AsyncIterator[bytes]:
        while (event := await self._next()) is not None:
            if event.kind == "end":
                return
            if event.data:
                yield event.data
        raise BodyIncomplete("The form ended in the middle of a part; send it again.")

    async def _next(self) -> Event | None:
        while not self._events:
            piece = await anext(self._body, None)
            if piece is None:
                return None
            if self._finished:
                continue  # an epilogue: nothing of ours
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise InvalidRequest("The form is not well-formed multipart/form-data.") from error
        return self._events.popleft()

    def _headers_clear(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value
        self._field, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        self._events.append(Event("begin", headers=self._headers))

    def _on_end(self) -> None:
        self._finished = True
