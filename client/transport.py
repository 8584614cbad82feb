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
from client.retry import RetryBudget, RetryPolicy, retryable_status

Body = bytes | Callable[[], AsyncIterable[bytes]]
"""Bytes, or a function that starts the body from its beginning: it is called once per attempt."""

TIMEOUT = httpx.Timeout(60.0, connect=10.0, pool=None)
"""Seconds without any movement, not for the whole request; waiting for a free connection is not limited."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_OUR_FAULT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_NOT_HANDLED = frozenset({429, 503})


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
    """Sends calls to one server and repeats them as the policy says."""

    def __init__(self, http: httpx.AsyncClient, policy: RetryPolicy) -> None:
        self.policy = policy
        self._http = http

    @property
    def base_url(self) -> str:
        return str(self._http.base_url)

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
        pause = budget.spend(retry_after) if may_repeat(error, call.repeatable) else None
        if pause is not None:
            await asyncio.sleep(pause)
        elif isinstance(error, httpx.RequestError):
            reason = str(error) or type(error).__name__
            times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            message = f"no answer from {self.base_url} after {times}: {reason}"
            raise SluiceConnectionError(message, attempts) from error
        else:
            raise error

    def _build(self, call: Call) -> httpx.Request:
        timeout = TIMEOUT if call.read_timeout is None else _with_read(call.read_timeout)
        content = call.body() if callable(call.body) else call.body
        return self._http.build_request(
            call.method,
            call.path,
            params=tuple(call.params) or None,
            headers=dict(call.headers),
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
        raise InvalidArgumentError(f"{base_url!r} is not an http:// or https:// URL")
    named = {"User-Agent": "sluice-client", **(headers or {})}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=url, headers=named, timeout=TIMEOUT, limits=limits, transport=transport)


def may_repeat(error: Exception, repeatable: bool) -> bool:
    """Whether sending the same request again is allowed and can help."""
    if isinstance(error, SluiceApiError):
        if repeatable:
            return retryable_status(error.status)
        return error.status in _NOT_HANDLED
    if isinstance(error, httpx.TransportError):
        return isinstance(error, _NEVER_SENT) or (repeatable and not isinstance(error, _OUR_FAULT))
    return False


def _with_read(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(TIMEOUT.read, connect=TIMEOUT.connect, pool=None, read=seconds)
