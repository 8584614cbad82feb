"""Exception -> RFC 9457 problem+json. The one place: nobody else builds an error answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from common.errors import Internal, InvalidRequest, MethodNotAllowed, NotFound, RequestError, SluiceError
from common.telemetry import Metrics, get_logger

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "urn:sluice:problem:"  # stable, resolves nowhere; `code` is its last part, docs/errors.md explains it

MAX_REFLECTED = 100  # characters of a member's name, or of what is wrong with it
log = get_logger(__name__)


def problem_document(error: SluiceError, request_id: str) -> dict[str, Any]:
    """The members of RFC 9457 section 3.1, then `code`, `request_id` and the error's own."""
    return {
        "type": error.type_uri or TYPE_BASE + error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        **error.extras,
    }


def problem_headers(error: SluiceError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store", **error.fields}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if "size" in error.extras and error.status == 416:
        headers["Content-Range"] = f"bytes */{error.extras['size']}"  # RFC 9110 section 15.5.17
    return headers


def problem_response(error: SluiceError, request_id: str) -> Response:
    body = json.dumps(problem_document(error, request_id), ensure_ascii=False).encode(errors="replace")
    return Response(body, status_code=error.status, media_type=MEDIA_TYPE, headers=problem_headers(error))


def install(app: FastAPI, metrics: Metrics, methods_of: Callable[[str], set[str]]) -> None:
    """Answer every exception that reaches the framework with a problem document, and count its code. `methods_of` knows
    those of addresses that are not in the OpenAPI document."""

    async def answer(request: Request, exception: Exception) -> Response:
        error = translate(exception)
        metrics.refused.labels(code=error.code).inc()
        if error.status >= 500:
            log.warning("request.failed", code=error.code, detail=error.detail, path=request.url.path)
        response = problem_response(error, request.scope.get("request_id", ""))
        if isinstance(exception, HTTPException) and exception.headers:
            response.headers.update(exception.headers)
        if error.status == 405:
            response.headers["Allow"] = ", ".join(_allowed(app, request.url.path, methods_of(request.url.path)))
        return response

    for kind in (SluiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


def translate(exception: Exception) -> SluiceError:
    """Our own error for what the framework or we raised."""
    if isinstance(exception, SluiceError):
        return exception
    if isinstance(exception, RequestValidationError):
        return _invalid(exception.errors())
    if isinstance(exception, HTTPException):
        if isinstance(exception.__cause__, SluiceError):  # raised below while the framework read a body
            return exception.__cause__
        return _from_status(exception.status_code)
    return Internal("An unexpected error; tell the operator the request_id.")


def _invalid(errors: Sequence[Any]) -> InvalidRequest:
    fields = [_field(error) for error in errors[:20]]
    first = fields[0] if fields else {"field": "body", "message": "is not valid"}
    hint = ""
    if first["field"] == "body":
        hint = " Send a JSON object with Content-Type: application/json."
    return InvalidRequest(f"{first['field']}: {first['message']}.{hint}", errors=fields)


def _field(error: Any) -> dict[str, str]:
    if error.get("type") == "json_invalid":
        return {"field": "body", "message": f"is not valid JSON at character {error['loc'][-1]}"}
    path = ".".join(str(part) for part in error["loc"] if part != "body")
    return {"field": _short(path) or "body", "message": _short(error["msg"].removeprefix("Value error, "))}


def _short(text: str) -> str:
    """What a client sent is not sent back at any length."""
    return text if len(text) <= MAX_REFLECTED else text[: MAX_REFLECTED - 1] + "…"


def _from_status(status: int) -> SluiceError:
    match status:
        case 404:
            return NotFound("There is nothing at this address; GET /openapi.json lists what there is.")
        case 405:
            return MethodNotAllowed("This address does not know this method; see the Allow field.")
    if status < 500:
        return RequestError(
            "The body could not be read: send JSON as UTF-8 text, nested less than 100 levels deep, with no number of "
            "thousands of digits."
        )
    return Internal("An unexpected error; tell the operator the request_id.")


def _allowed(app: FastAPI, path: str, more: set[str]) -> list[str]:
    """Every method of this address; the framework names those of the first matching route only (RFC 9110 10.2.1)."""
    methods = set(more)
    for template, operations in app.openapi()["paths"].items():
        if compile_path(template)[0].fullmatch(path):
            methods.update(method.upper() for method in operations)
    if "GET" in methods:
        methods.add("HEAD")  # every GET route has one, which the document does not repeat
    return sorted(methods)
