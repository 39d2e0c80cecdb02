"""Every error in one JSON shape (docs/protocol.md)."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from kled_coord.api.guard import services_of
from kled_wire.errors import BY_STATUS, InputError, KledError, LimitError, UnauthenticatedError
from kled_wire.text import printable

# In characters. What Terraform reports of a template may take a page.
_TEXT_MAX: Final = 4000

log = structlog.get_logger(__name__)


class ErrorDetail(BaseModel):
    """What went wrong; `code` is stable (docs/errors.md)."""

    code: str
    message: str
    hint: str | None = None


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


# The error that any route may answer with, for the OpenAPI document.
ERROR_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "model": ErrorAnswer,
        "description": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
    }
    for status, kind in BY_STATUS.items()
}


def error_body(error: KledError) -> dict[str, Any]:
    """The JSON of an error; it may quote what a stranger sent."""
    body = {"code": error.code, "message": _told(error.message)}
    if error.hint:
        body["hint"] = _told(error.hint)
    return {"error": body}


def _told(text: str) -> str:
    return printable(text[:_TEXT_MAX], keep="\n\t")


def error_response(error: KledError) -> JSONResponse:
    """The HTTP answer to an error."""
    headers = {}
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, LimitError):
        headers["Retry-After"] = str(ceil(error.retry_after_s))
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Make the application answer all errors in our shape; unexpected ones get an id."""

    @app.exception_handler(KledError)
    async def known(_request: Request, error: KledError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return error_response(InputError("input_invalid", f"{field}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, KledError):
            return error_response(error.__cause__)
        code = {404: "route_not_found", 405: "method_not_allowed"}.get(
            error.status_code, "request_refused"
        )
        message = f"{request.method} {request.url.path[:200]}: {error.detail}"
        return JSONResponse(
            error_body(KledError(code, message)),
            status_code=error.status_code,
            headers=error.headers,
        )

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        error_id = (await services_of(request)).ids.new("err")
        log.error("request_crashed", id=error_id, path=request.url.path, exc_info=error)
        return error_response(
            KledError("internal", f"internal error {error_id}; see the coordinator's log")
        )
