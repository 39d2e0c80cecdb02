"""One small JSON request to the coordinator, for programs too small for an HTTP library."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any

import trio

from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.http.headio import read_response
from kled_wire.http.heads import decode_refusal, encode_request
from kled_wire.transport.address import Address
from kled_wire.transport.dial import open_connection


async def post_json(
    address: Address,
    path: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    ssl_context: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """POST `body` and return the JSON object answered. The caller owns the deadline.

    Raises the KledError the coordinator answered with, UnavailableError, ProtocolError.
    """
    content = json.dumps(dict(body)).encode()
    about = {
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": f"{len(content)}",
    }
    request = encode_request(f"POST {address.base}{path}", address.authority, {**about, **headers})
    stream = await open_connection(address, ssl_context=ssl_context)
    try:
        await stream.send_all(request + content)
        head, answer = await read_response(stream, bytearray())
    except (trio.BrokenResourceError, OSError) as exc:
        raise UnavailableError(
            "coordinator_unreachable", f"the connection to {address.authority} broke"
        ) from exc
    finally:
        await trio.aclose_forcefully(stream)
    if head.status // 100 != 2:
        raise decode_refusal(head.status, bytes(answer.content))
    if answer.too_long:
        raise ProtocolError("answer_malformed", "the answer is too long")
    if not answer.whole:
        raise UnavailableError("coordinator_unreachable", "the answer is incomplete")
    return _parse(bytes(answer.content))


def _parse(answer: bytes) -> dict[str, Any]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError) as exc:
        raise ProtocolError("answer_malformed", f"the answer is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise ProtocolError("answer_malformed", "the answer is not a JSON object")
    return value
