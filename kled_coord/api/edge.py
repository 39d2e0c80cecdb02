"""Middleware of every request in plain ASGI: limits, headers, metrics."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Final

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kled_coord.api.errors import error_response
from kled_coord.api.receiving import body_too_large, limited
from kled_coord.metrics import Metrics
from kled_wire.errors import KledError, UpgradeRequiredError
from kled_wire.limits import (
    ANONYMOUS_BODY_MAX_BYTES,
    API_BODY_MAX_BYTES,
    STATE_MAX_BYTES,
    TEMPLATE_MAX_BYTES,
)

_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

# A template in base64, with the values for it.
_PUSH_MAX_BYTES: Final = TEMPLATE_MAX_BYTES * 3 // 2

log = structlog.get_logger(__name__)


class Edge:
    """The outermost ASGI application, around the routes."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, check_sender: Callable[[Request], Awaitable[None]]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._check_sender = check_sender

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in _HEADERS if pair[0] not in present),
                ]
            await send(message)

        headers = dict(scope["headers"])
        limit = _body_limit(scope)
        check_sender = partial(self._check_sender, Request(scope))
        try:
            length = _checked_length(scope, headers, limit)
            if length > ANONYMOUS_BODY_MAX_BYTES:
                await check_sender()
            await self._app(scope, limited(receive, limit, check_sender), send_more)
        except KledError as error:
            await error_response(error)(scope, receive, send_more)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            took = perf_counter() - began
            self._metrics.http_requests_total.labels(route, str(status)).inc()
            self._metrics.http_seconds.observe(took)
            log.debug(
                "request_answered",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(took * 1000, 1),
            )


_STATE_PUSH: Final = re.compile(r"/api/v1/workspaces/[^/]+/states/content")


def _body_limit(scope: Scope) -> int:
    path: str = scope["path"]
    if path.startswith("/api/v1/tfstate/") or _STATE_PUSH.fullmatch(path):
        return STATE_MAX_BYTES
    if path.startswith("/api/v1/templates/"):
        return _PUSH_MAX_BYTES
    if path.startswith("/api/v1/auth/"):
        return ANONYMOUS_BODY_MAX_BYTES
    return API_BODY_MAX_BYTES


def _checked_length(scope: Scope, headers: Mapping[bytes, bytes], limit: int) -> int:
    """The length that the head says, 0 where it says none.

    Raises UpgradeRequiredError, BodyTooLargeError.
    """
    if b"upgrade" in headers and scope["http_version"] != "1.0":
        raise UpgradeRequiredError(
            "upgrade_refused",
            "this request cannot be upgraded",
            hint="an upgrade must be the first request of a connection",
        )
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > limit:
        raise body_too_large(limit)
    return int(length)
