"""One request with its repetitions: the only place that talks to httpx, so no error of a lower layer leaves it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from client.errors import InvalidArgumentError, SluiceApiError, SluiceConnectionError, SluiceProtocolError
from client.reasons import reason_of
from client.retry import RetryBudget, RetryCallback, RetryNotice, RetryPolicy, retryable_status
from client.tracing import trace_headers

Body = bytes | Callable[[], AsyncIterable[bytes]]
"""Bytes, or a function that starts the body from its beginning: it is called once per attempt."""

TIMEOUT = httpx.Timeout(60.0, connect=10.0, pool=None)
"""Seconds without any movement, not for the whole request; waiting for a free connection is not limited."""

HIGHEST_PORT = 65535

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_OUR_FAULT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_NOT_HANDLED = frozenset({429, 503})
_LASTING = frozenset({"file_corrupt"})  # codes of 5xx answers that do not pass by themselves


@dataclass(frozen=True)
class Call:
    """A request that can be built again for each attempt.

    `repeatable` False: it is only repeated when the server cannot have acted on it. `read_timeout` in seconds, for
    answers that are held back on purpose.
    """

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    body: Body | None = None
    read_timeout: float | None = None
    repeatable: bool = True


class Transport:
    """Sends calls to one server and repeats them as the policy says; `on_retry` is told before each pause."""

    def __init__(self, http: httpx.AsyncClient, policy: RetryPolicy, on_retry: RetryCallback | None = None) -> None:
        self.policy = policy
        self._http = http
        self._on_retry = on_retry

    def telling(self, on_retry: RetryCallback | None) -> Transport:
        """The same connections with a callback of their own; only one of the two is to be closed."""
        return Transport(self._http, self.policy, on_retry)

    @property
    def base_url(self) -> str:
        return str(self._http.base_url)

    @property
    def _address(self) -> str:
        """The server as messages name it: without user and password."""
        return str(self._http.base_url.copy_with(userinfo=b""))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call, budget: RetryBudget | None = None) -> httpx.Response:
        """The answer to a call, its body read.

        Raises SluiceApiError for every status that is not 2xx and SluiceConnectionError when no answer came,
        after the budget (default: one of its own) is used up.
        """
        budget = budget or RetryBudget(self.policy)
        while True:
            attempt = budget.attempts
            try:
                async with self.stream(call, attempt) as response:
                    await response.aread()
                    return response
            except (SluiceApiError, httpx.RequestError) as error:
                await self.pause_or_raise(error, budget, call)

    async def send_json(self, call: Call, budget: RetryBudget | None = None) -> dict[str, Any]:
        """As `send`, for answers that are a JSON object."""
        response = await self.send(call, budget)
        try:
            body = json.loads(response.content)
        except ValueError as error:
            raise SluiceProtocolError(f"{call.method} {response.url} was not answered with JSON") from error
        if not isinstance(body, dict):
            raise SluiceProtocolError(f"{call.method} {response.url} was not answered with an object")
        return body

    @asynccontextmanager
    async def stream(self, call: Call, attempt: int = 1) -> AsyncIterator[httpx.Response]:
        """One attempt; the answer's body is still to be read. A status that is not 2xx raises SluiceApiError."""
        response = await self._http.send(self._build(call), stream=True)
        try:
            if not response.is_success:
                await response.aread()
                raise SluiceApiError.from_response(response, attempt)
            yield response
        finally:
            await response.aclose()

    async def pause_or_raise(self, error: Exception, budget: RetryBudget, call: Call) -> None:
        """Wait until the next attempt is due, or raise what the caller should see."""
        retry_after = error.retry_after if isinstance(error, SluiceApiError) else None
        attempts = budget.attempts
        budget.reached = budget.reached or not isinstance(error, _NEVER_SENT)
        pause = budget.spend(retry_after) if may_repeat(error, call.repeatable) else None
        if pause is not None:
            self._tell(error, budget, pause)
            await asyncio.sleep(pause)
        elif isinstance(error, httpx.RequestError):
            times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            message = f"no answer from {self._address} after {times}: {reason_of(error)}"
            raise SluiceConnectionError(message, attempts, reached=budget.reached) from error
        else:
            raise error

    def _tell(self, error: Exception, budget: RetryBudget, pause: float) -> None:
        if self._on_retry is None:
            return
        refused = isinstance(error, SluiceApiError)
        reason = str(error) if refused else f"no answer from {self._address}: {reason_of(error)}"
        self._on_retry(RetryNotice(budget.failures + 1, self.policy.attempts, pause, reason, error))

    def _build(self, call: Call) -> httpx.Request:
        timeout = TIMEOUT if call.read_timeout is None else _with_read(call.read_timeout)
        content = call.body() if callable(call.body) else call.body
        trace = trace_headers() if call.path.startswith("/") else {}  # a whole URL is somebody else's server
        return self._http.build_request(
            call.method,
            call.path,
            params=tuple(call.params) or None,
            headers={**trace, **call.headers},
            json=call.document,
            content=content,
            timeout=timeout,
        )


def open_http(
    base_url: str, headers: Mapping[str, str] | None, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """The HTTP client of one server. Raises InvalidArgumentError for a URL that is none."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidArgumentError(f"{base_url!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidArgumentError(f"{base_url!r} is not an http:// or https:// URL{_suggestion(base_url)}")
    if url.port is not None and url.port > HIGHEST_PORT:
        raise InvalidArgumentError(f"{base_url!r} is not a URL: ports end at {HIGHEST_PORT}")
    named = {"User-Agent": "sluice-client", **(headers or {})}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=url, headers=named, timeout=TIMEOUT, limits=limits, transport=transport)


def _suggestion(text: str) -> str:
    """What was probably meant by a URL without its scheme; nothing where that would be no better."""
    meant = f"http://{text}"
    try:
        good = "://" not in text and bool(httpx.URL(meant).host)
    except httpx.InvalidURL:
        return ""
    return f"; did you mean {meant}?" if good else ""


def may_repeat(error: Exception, repeatable: bool) -> bool:
    """Whether sending the same request again is allowed and can help."""
    if isinstance(error, SluiceApiError):
        if repeatable:
            return retryable_status(error.status) and error.code not in _LASTING
        return error.status in _NOT_HANDLED
    if isinstance(error, httpx.TransportError):
        return isinstance(error, _NEVER_SENT) or (repeatable and not isinstance(error, _OUR_FAULT))
    return False


def _with_read(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(TIMEOUT.read, connect=TIMEOUT.connect, pool=None, read=seconds)
