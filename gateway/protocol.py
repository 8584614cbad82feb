"""The HTTP/1.1 protocol of the gateway: uvicorn's httptools one, with a deadline for request heads and our errors."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from common.errors import HeadersTooLarge, HeaderTimeout, MalformedRequest, SluiceError
from common.ids import new_id
from gateway.intake import READ_LEAST, IntakeMemory
from gateway.longbody import LongBody
from gateway.problems import MEDIA_TYPE, problem_document
from gateway.reading import CountedFlow

MAX_HEAD = 64 * 1024  # bytes of a request head, and of trailers: 1000 paths in an Upload-Concat; most have below 2 KiB
MAX_FIELDS = 128  # header fields
MOST_UNREAD = 64 * 1024  # bytes of a body above which nothing more is read until it is asked for
LONG = 256 * 1024  # bytes of a body still to come from which on it goes past the parser
LONG_READ = 1024 * 1024  # bytes of such a body taken from the socket at a time
MAX_PIPELINED = 8  # requests waiting behind the one that is answered; nearly no client sends a second
WRITE_SECONDS = 60.0  # a client that takes nothing of an answer for so long is cut


class RefusedError(Exception):
    """Raised inside a parser callback to stop the parser; `reason` is the answer."""

    def __init__(self, reason: SluiceError) -> None:
        super().__init__(reason.code)
        self.reason = reason


class SluiceProtocol(HttpToolsProtocol):
    """httptools refuses a request with both Content-Length and Transfer-Encoding, which h11 does not.

    Beyond uvicorn: bounds on the head and on pipelining, deadlines, no fields from trailers, and a request that offers
    an upgrade is served as if it did not (RFC 9110 section 7.8), with its body. Implements `gateway.reading.Taker`.
    """

    header_timeout = 30.0
    """Seconds from the connection, or from the first byte of a later request, to a complete request head."""

    memory: IntakeMemory
    """The account of what is unread, of all connections together."""

    _counted = 0  # bytes of ours in it
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _told = False  # whether the parser told us anything of the present feed
    _silent_bytes = 0  # fed since it last did: it is collecting one long thing
    _body_follows = False  # after a head with an upgrade, which ends the request as the parser sees it
    _replaying = False
    _to_come = 0  # bytes of a body of known length that have not come yet
    _long: LongBody | None = None  # what reads them in place of the transport
    _refusal: SluiceError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = CountedFlow(transport, self._count_unread)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._stop_write_timer()
        if self._long is not None:
            self._long.close()
        self.memory.unread -= self._counted
        self._counted = 0
        super().connection_lost(exc)

    def room(self) -> int:
        return max(READ_LEAST, self.memory.read_size() - self._counted)

    def _long_room(self) -> int:
        return self.memory.read_size(LONG_READ)

    def data_received(self, data: bytes | memoryview) -> None:
        self._unset_keepalive_if_required()
        self._told = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(bytes(data[upgrade.args[0] :]))
            return
        except httptools.HttpParserError:
            self._answer(self._refusal or MalformedRequest("The request is not well-formed HTTP/1.1."))
            return
        self._silent_bytes = 0 if self._told else self._silent_bytes + len(data)
        if self._silent_bytes > MAX_HEAD:
            self._answer(_too_large())
        elif not self._answering() and self._head_timer is None and self.timeout_keep_alive_task is None:
            self._arm()  # something came that begins no request, as a stray CRLF

    def on_message_begin(self) -> None:
        if self._replaying:
            return
        self._in_head, self._head_bytes, self._body_follows = True, 0, False
        super().on_message_begin()
        if self._head_timer is None:
            self._arm()

    def on_url(self, url: bytes) -> None:
        if not self._replaying:
            self._count(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._replaying:
            return
        self._count(len(name) + len(value))
        if self._in_head:  # a trailer must not become a field of the request (RFC 9110 section 6.5.1)
            if len(self.headers) >= MAX_FIELDS:
                self._refuse(_too_large())
            super().on_header(name, value.rstrip(b" \t"))  # white space behind it is none of it (RFC 9112 section 5)

    def on_headers_complete(self) -> None:
        if self._replaying:
            return
        self._disarm()
        self._told, self._in_head, self._head_bytes = True, False, 0
        self._body_follows = self.parser.should_upgrade() and bool(_framing(self.headers))
        self._to_come = 0 if self._body_follows else _announced(self.headers)
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self._refuse(MalformedRequest("Too many requests were sent before the first was answered."))

    def on_body(self, body: bytes) -> None:
        """In place of uvicorn's, which copies every piece into a growing buffer and out of it again."""
        self._told = True
        self._to_come -= len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        unread = cast("bytes | bytearray", cycle.body)
        if unread:
            cycle.body = unread if isinstance(unread, bytearray) else bytearray(unread)
            cycle.body += body
        else:
            cycle.body = body  # type: ignore[assignment]  # it is taken by `bytes(body)`, which copies no bytes
        self._count_unread()
        if self._counted > min(MOST_UNREAD, self.memory.read_size() // 2):
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._told = True
        if not self._body_follows:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, self._with_whole_body(cycle, app))

    def _with_whole_body(self, cycle: RequestResponseCycle, app: Any) -> Any:
        """The app as uvicorn calls it, with our way of reading long bodies."""

        async def with_body(scope: Any, receive: Any, send: Any) -> None:
            async def receive_all() -> Any:
                if self._goes_past_the_parser(cycle):
                    return await self._receive_long(cycle)
                message = await receive()
                if message["type"] != "http.disconnect" or not cycle.body or cycle.response_complete:
                    return message
                # uvicorn forgets what it has read and not handed out when the client goes: who keeps what arrived
                # wants it
                rest, cycle.body = bytes(cycle.body), bytearray()
                return {"type": "http.request", "body": rest, "more_body": cycle.more_body}

            await app(scope, receive_all, send)

        return with_body

    def _goes_past_the_parser(self, cycle: RequestResponseCycle) -> bool:
        if cycle is not self.cycle or cycle.body or cycle.disconnected or cycle.response_complete:
            return False
        if self._long is not None:
            return True
        return self._to_come >= LONG and not cycle.waiting_for_100_continue and self.scheme == "http"

    async def _receive_long(self, cycle: RequestResponseCycle) -> Any:
        if self._long is None:
            self.flow.pause_reading()
            self._long = LongBody(self.transport, self._to_come, self._long_room)
        self._count_unread()
        piece = await self._long.take()
        if not piece:
            cycle.disconnected = True
            self.flow.resume_reading()  # the transport finds the end, and closes
            return {"type": "http.disconnect"}
        self.memory.unread += len(piece)
        self._counted = len(piece)
        cycle.more_body = self._long.left > 0
        if not cycle.more_body:
            self._long, self._to_come = None, 0
            self.parser = self._new_parser()  # the one before waits for this body
        return {"type": "http.request", "body": piece, "more_body": cycle.more_body}

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """The parser takes what follows for another protocol: a new one goes on where the body begins."""
        self.parser = self._new_parser()
        if self._body_follows:
            self._body_follows, self._replaying = False, True
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + _framing(self.headers) + b"\r\n")
            self._replaying = False
        if rest:
            self.data_received(rest)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return parser

    def _count(self, size: int) -> None:
        self._told = True
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            self._refuse(_too_large())

    def _refuse(self, reason: SluiceError) -> None:
        self._refusal = reason
        raise RefusedError(reason)

    def _count_unread(self) -> None:
        now = len(self.cycle.body) if self._answering() else 0
        self.memory.unread += now - self._counted
        self._counted = now

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

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


def _framing(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The header lines that say how long the body is; empty where there is none."""
    names = (b"content-length", b"transfer-encoding")
    lines = [name + b": " + value + b"\r\n" for name, value in headers if name in names and value != b"0"]
    return b"".join(lines)


def _announced(headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of a body that comes as it is; the parser has seen that there is one number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"A request head may have {MAX_HEAD} bytes in {MAX_FIELDS} fields, and so may its trailers.")


def protocol_with(header_timeout: float, memory: IntakeMemory) -> type[SluiceProtocol]:
    """The protocol class with this deadline, in seconds, and this account: uvicorn makes the instances."""
    return type("SluiceProtocol", (SluiceProtocol,), {"header_timeout": header_timeout, "memory": memory})
