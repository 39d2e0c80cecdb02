"""What surrounds every request: limits, headers, metrics. Plain ASGI, outside the routes."""

from __future__ import annotations

from collections.abc import MutableMapping
from time import perf_counter
from typing import Any, Final

import structlog
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kled_coord.api.errors import BodyTooLargeError, error_response
from kled_coord.metrics import Metrics
from kled_wire.errors import KledError, UnavailableError, UpgradeRequiredError
from kled_wire.limits import API_BODY_MAX_BYTES, STATE_MAX_BYTES, TEMPLATE_MAX_BYTES

# A body may pause this long; no JSON or template needs more on any network Kled is meant for.
BODY_PAUSE_S: Final = 30.0
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

log = structlog.get_logger(__name__)


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await _refuse_websocket(receive, send)
        elif scope["type"] == "http":
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
        try:
            refusal = _refusal(headers, limit)
            if refusal is not None:
                await error_response(refusal)(scope, receive, send_more)
            else:
                await self._app(scope, _limited(receive, limit), send_more)
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


def _body_limit(scope: Scope) -> int:
    path: str = scope["path"]
    if path.startswith("/api/v1/tfstate/"):
        return STATE_MAX_BYTES
    if path.startswith("/api/v1/templates/"):
        return TEMPLATE_MAX_BYTES
    return API_BODY_MAX_BYTES


def _refusal(headers: MutableMapping[bytes, bytes], limit: int) -> KledError | None:
    if b"upgrade" in headers:
        return UpgradeRequiredError(
            "upgrade_refused",
            "this cannot be upgraded here",
            hint="an upgrade is taken only as the first request of a connection",
        )
    length = headers.get(b"content-length", b"0")
    return _too_large(limit) if not length.isdigit() or int(length) > limit else None


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError("body_too_large", f"the body is over {limit // 1024} KiB")


def _limited(receive: Receive, limit: int) -> Receive:
    """`receive` that counts the body and does not wait for ever for more of it."""
    total = 0
    complete = False

    async def receive_limited() -> Message:
        nonlocal total, complete
        if complete:
            return await receive()
        with trio.move_on_after(BODY_PAUSE_S):
            message = await receive()
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if total > limit:
                raise _too_large(limit)
            return message
        raise UnavailableError("body_timeout", f"no more of the body came for {BODY_PAUSE_S:.0f} s")

    return receive_limited


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()
    body: dict[str, Any] = {"type": "websocket.http.response.body", "body": b"", "more_body": False}
    await send({"type": "websocket.http.response.start", "status": 426, "headers": list(_HEADERS)})
    await send(body)
