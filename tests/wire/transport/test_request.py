"""One JSON request: sent whole, answered within limits, errors typed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
import trio

from kled_wire import limits
from kled_wire.errors import KledError, ProtocolError, UnauthenticatedError, UnavailableError
from kled_wire.http import upgrade
from kled_wire.http.headio import read_head
from kled_wire.transport.address import parse_url
from kled_wire.transport.request import post_json
from tests.wire.sockets import serving


def _answer(
    said: bytes, seen: list[tuple[upgrade.RequestHead, bytes]] | None = None
) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def handle(stream: trio.SocketStream) -> None:
        buffer = bytearray()
        head = upgrade.parse_request(await read_head(stream, buffer))
        while len(buffer) < int(head.headers["content-length"]):
            buffer += await stream.receive_some()
        if seen is not None:
            seen.append((head, bytes(buffer)))
        await stream.send_all(said)
        await stream.aclose()

    return handle


def _ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def _refused(said: bytes) -> KledError:
    async with serving(_answer(said)) as port:
        with pytest.raises(KledError) as caught:
            await post_json(parse_url(f"http://127.0.0.1:{port}"), "/a", {}, headers={})
    return caught.value


async def test_the_request_is_whole_and_the_answer_is_the_object() -> None:
    seen: list[tuple[upgrade.RequestHead, bytes]] = []
    async with serving(_answer(_ok(b'{"a": [1]}'), seen)) as port:
        address = parse_url(f"http://127.0.0.1:{port}/kled")
        answer = await post_json(
            address, "/api?x=1", {"name": "b\u00fccher"}, headers={"Authorization": "Bearer t"}
        )
    assert answer == {"a": [1]}
    [(head, body)] = seen
    assert (head.method, head.target) == ("POST", "/kled/api?x=1")
    assert head.headers["authorization"] == "Bearer t"
    assert json.loads(body) == {"name": "b\u00fccher"}


async def test_a_refusal_is_the_coordinators_error() -> None:
    error = await _refused(
        upgrade.encode_error(UnauthenticatedError("token_revoked", "it was revoked"))
    )
    assert (type(error), error.code) == (UnauthenticatedError, "token_revoked")


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (b"", UnavailableError, "connection_closed"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", ProtocolError, "answer_malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n{}", ProtocolError, "head_malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", ProtocolError, "head_malformed"),
        (_ok(bytes(limits.API_BODY_MAX_BYTES + 1)), ProtocolError, "answer_malformed"),
        (_ok(b"[]"), ProtocolError, "answer_malformed"),
        (_ok(b"{"), ProtocolError, "answer_malformed"),
        (_ok(b"\xff"), ProtocolError, "answer_malformed"),
        (_ok(b"[" * 100_000), ProtocolError, "answer_malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", UnavailableError,
         "coordinator_unreachable"),
        (b"HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
         UnavailableError, "upgrade_refused"),
        (b"SSH-2.0-x\r\n\r\n", ProtocolError, "head_malformed"),
    ],
)  # fmt: skip
async def test_a_strange_answer_is_a_kled_error(
    said: bytes, kind: type[KledError], code: str
) -> None:
    error = await _refused(said)
    assert (type(error), error.code) == (kind, code)


async def test_the_callers_deadline_ends_a_silent_request() -> None:
    async def silent(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep_forever()

    async with serving(silent) as port:
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await post_json(parse_url(f"http://127.0.0.1:{port}"), "/a", {}, headers={})
