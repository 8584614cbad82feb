"""The HTTP/1.1 protocol of the gateway: uvicorn's httptools one, with a deadline for request heads and our errors."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from common.errors import HeaderTimeout, MalformedRequest, SluiceError
from common.ids import new_id
from gateway.problems import MEDIA_TYPE, problem_document


class SluiceProtocol(HttpToolsProtocol):
    """httptools refuses a request with both Content-Length and Transfer-Encoding, which h11 does not."""

    header_timeout = 30.0
    """Seconds from the connection, or from the first byte of a later request, to a complete request head."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._arm()

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed is answered with a problem document too."""
        del msg
        self._answer(MalformedRequest("The request is not well-formed HTTP/1.1; the connection is closed."))

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(self.header_timeout, self._too_late)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        if self._answering():
            self._arm()  # this half head stands behind a request that is being answered: its turn has not come
            return
        self._answer(HeaderTimeout(f"The request head was not complete after {self.header_timeout:g} seconds."))

    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _answer(self, error: SluiceError) -> None:
        """Straight to the transport: there is no request yet that an ASGI app could answer."""
        if self.transport.is_closing():
            return
        if self._answering() and self.cycle.response_started:
            self.transport.close()  # nothing may be written into an answer that is on its way
            return
        request_id = new_id()
        body = json.dumps(problem_document(error, request_id)).encode()
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def protocol_with(header_timeout: float) -> type[SluiceProtocol]:
    """The protocol class with this deadline, in seconds: uvicorn makes the instances, so a class carries it."""
    return type("SluiceProtocol", (SluiceProtocol,), {"header_timeout": header_timeout})
