"""One small JSON request to the coordinator, for programs too small for an HTTP library."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any

import trio

from kled_wire import limits
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.http import upgrade
from kled_wire.http.headio import read_body, read_head
from kled_wire.transport.dial import open_connection, parse_url


async def post_json(
    url: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    ssl_context: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """POST `body` and return the JSON object answered. The caller owns the deadline.

    Raises the KledError the coordinator answered with, UnavailableError, ProtocolError.
    """
    address = parse_url(url)
    content = json.dumps(dict(body)).encode()
    target = "/" + url.partition("://")[2].partition("/")[2]
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {address.authority}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content
    stream = await open_connection(address, ssl_context=ssl_context)
    try:
        await stream.send_all(request)
        buffer = bytearray()
        head = upgrade.parse_response(await read_head(stream, buffer))
        length = _length(head)
        answer = await read_body(stream, buffer, length)
    except (trio.BrokenResourceError, OSError) as exc:
        raise UnavailableError(
            "coordinator_unreachable", f"the connection to {address.authority} broke"
        ) from exc
    finally:
        await trio.aclose_forcefully(stream)
    if not _succeeded(head):
        raise upgrade.decode_error(head.status, answer)
    if len(answer) < length:
        raise UnavailableError("coordinator_unreachable", "the answer ended too early")
    return _parse(answer)


def _succeeded(head: upgrade.ResponseHead) -> bool:
    return 200 <= head.status < 300


def _length(head: upgrade.ResponseHead) -> int:
    length = head.content_length
    if length is None and not _succeeded(head):
        return 0  # some gateway's error page; its status says enough
    if length is None or length > limits.API_BODY_MAX_BYTES:
        raise ProtocolError("answer_malformed", "the answer has no length, or too large a one")
    return length


def _parse(answer: bytes) -> dict[str, Any]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError) as exc:
        raise ProtocolError("answer_malformed", f"the answer is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise ProtocolError("answer_malformed", "the answer is not a JSON object")
    return value
