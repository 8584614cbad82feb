"""Everything this SDK raises on purpose.

SluiceClientError           any of the below
|- InvalidArgumentError     a call that cannot be right (also a ValueError)
|- SluiceConnectionError    no answer arrived, all attempts are used up
|- SluiceApiError           the server refused: problem+json with code, detail and request id
|- SluiceProtocolError      the server answered something the wire contract does not allow
|- FileChangedError         the local file changed while it was being uploaded
|- IntegrityError           digests differ: bytes were damaged between here and there
|- DownloadError            the download could not be written where it was asked for
|- JobFailedError           the server gave the job up; `job.error` says why
`- JobTimeoutError          the job was not finished in the time the caller gave it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from client.retry import parse_retry_after

if TYPE_CHECKING:
    import httpx

    from client.models import Job


class SluiceClientError(Exception):
    """Base of all errors of this SDK."""


class InvalidArgumentError(SluiceClientError, ValueError):
    """A call that cannot be right, refused before anything is sent."""


class SluiceConnectionError(SluiceClientError):
    """No answer arrived; `attempts` requests were made. The transport's error is the cause. `reached` False: there was
    never a connection, so the server cannot have seen any of them."""

    def __init__(self, message: str, attempts: int = 1, *, reached: bool = True) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.reached = reached


class SluiceProtocolError(SluiceClientError):
    """The server answered something the wire contract does not allow."""


class FileChangedError(SluiceClientError):
    """Size or modification time of the local file changed while it was being uploaded."""


class IntegrityError(SluiceClientError):
    """A digest of what was received differs from the digest that was announced."""


class DownloadError(SluiceClientError):
    """The download could not be written where it was asked for."""


class SluiceApiError(SluiceClientError):
    """A refusal by the server (RFC 9457 problem details).

    `status` is the HTTP status, `code` the stable name of the reason, `detail` a sentence that says what
    to do, `request_id` what to quote to the operator, `extras` the problem's other members,
    `retry_after` seconds (None: not said), `attempts` the number of requests made.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str = "",
        detail: str = "",
        *,
        request_id: str | None = None,
        extras: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        attempts: int = 1,
    ) -> None:
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.extras = dict(extras or {})
        self.retry_after = retry_after
        self.attempts = attempts
        said = detail or title or "the server gave no reason"
        asked = f" [request {request_id}]" if request_id else ""
        super().__init__(f"{said} ({status} {code}){asked}")

    @classmethod
    def from_response(cls, response: httpx.Response, attempts: int = 1) -> SluiceApiError:
        """Translate an answer whose body has been read. A body that is no problem document (a proxy's HTML
        page) becomes code `http_<status>`."""
        problem = _problem_of(response)
        known = {"type", "title", "status", "detail", "code", "request_id", "instance"}
        return cls(
            response.status_code,
            str(problem.get("code") or f"http_{response.status_code}"),
            str(problem.get("title") or response.reason_phrase),
            str(problem.get("detail") or ""),
            request_id=str(problem.get("request_id") or response.headers.get("x-request-id") or "") or None,
            extras={name: value for name, value in problem.items() if name not in known},
            retry_after=parse_retry_after(response.headers.get("retry-after")),
            attempts=attempts,
        )


class JobFailedError(SluiceClientError):
    """The server gave the job up. `job` is its last state."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.code = job.error.code if job.error else job.state
        detail = job.error.detail if job.error else "no reason was recorded"
        super().__init__(f"job {job.id} {job.state}: {detail} ({self.code})")


class JobTimeoutError(SluiceClientError):
    """The job was not finished in time; it goes on at the server. `job` is its last known state."""

    def __init__(self, job: Job, seconds: float) -> None:
        self.job = job
        super().__init__(f"job {job.id} is still {job.state} after {seconds:g} s; it goes on at the server")


def _problem_of(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
