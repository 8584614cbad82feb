"""multipart/form-data (RFC 7578) as a stream of parts: nothing is spooled, a file part is read while it arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from common.digests import Digests
from common.errors import BodyIncomplete, InvalidRequest, MetadataTooLarge
from gateway.api.disposition import filename_of, parse_parameters
from gateway.api.fields import DIGEST_FIELDS, merged_digests

MAX_EPILOGUE = 64 * 1024  # bytes after the last boundary; a well-meant form has none
Headers = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Event:
    """What the parser saw. It runs ahead of the reader, so a part's headers travel with its beginning."""

    kind: Literal["begin", "data", "end"]
    data: bytes = b""
    headers: Headers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A field (`filename` None) or a file. `data` has to be read to its end before the next part can come.

    `filename` is empty where it was sent as empty; `declared` are the digests in the head of the part.
    """

    name: str
    filename: str | None
    content_type: str | None
    declared: Digests
    data: AsyncIterator[bytes]


async def read_field(part: Part, most: int) -> str:
    """The whole text of a field of at most `most` bytes. Raises MetadataTooLarge, InvalidRequest where not UTF-8."""
    text = bytearray()
    async for piece in part.data:
        text += piece
        if len(text) > most:
            raise MetadataTooLarge(f"The form field {part.name[:64]} may have at most {most} bytes.", limit=most)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The form field {part.name[:64]} is not text in UTF-8.") from error


class FormReader:
    """Drives the callback parser with the pieces of a body and hands out its parts one after the other."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Raises InvalidRequest when the content type names no usable boundary."""
        boundary = parse_parameters(content_type)[1].get("boundary", "").encode("latin-1")
        if not boundary:
            raise InvalidRequest("multipart/form-data needs a boundary parameter.")
        self._body = body
        self._events: deque[Event] = deque()
        self._headers: dict[str, list[str]] = {}
        self._field = b""
        self._value = b""
        self._finished = False
        self._epilogue = 0
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

    def _part(self, headers: Headers) -> Part:
        _, parameters = parse_parameters(headers.get("content-disposition", [""])[0])
        return Part(
            name=_name_of(parameters),
            filename=filename_of(parameters),
            content_type=headers.get("content-type", [""])[0] or None,
            declared=merged_digests(headers.get(name, []) for name in DIGEST_FIELDS),
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
                self._epilogue += len(piece)
                if self._epilogue > MAX_EPILOGUE:
                    raise InvalidRequest("The form goes on after its last boundary.")
                continue
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
        self._headers.setdefault(self._field.decode("latin-1").lower(), []).append(self._value.decode("latin-1"))
        self._field, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        self._events.append(Event("begin", headers=self._headers))

    def _on_end(self) -> None:
        self._finished = True


def _name_of(parameters: Mapping[str, str]) -> str:
    try:
        name = parameters.get("name", "").encode("latin-1").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("The name of a part of the form is not text in UTF-8.") from error
    if not name:
        raise InvalidRequest('Every part of a form has a name: Content-Disposition: form-data; name="file".')
    return name
