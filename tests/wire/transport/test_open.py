"""Opening streams: the upgrade, every way it can be refused, and what stands in for it."""

from __future__ import annotations

import pytest
import trio
import trio_websocket

from kled_wire.errors import (
    ForbiddenError,
    KledError,
    ProtocolError,
    UnavailableError,
    UpgradeRequiredError,
    encode_error_body,
)
from kled_wire.http import upgrade
from kled_wire.http.headio import read_head
from kled_wire.transport.address import parse_url
from kled_wire.transport.open import open_upgraded
from kled_wire.transport.prefixed import PrefixedStream
from tests.wire.sockets import answering, open_raw, read_all, reset, serving


async def test_an_upgrade_gives_the_raw_stream_with_what_came_along() -> None:
    seen = []

    async def answer(head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        seen.append(head)
        await stream.send_all(upgrade.encode_switching() + b"SSH-2.0-x\r\n")
        await stream.send_all(b"you said " + await read_all(stream))

    async with serving(answering(answer)) as port:
        stream = await open_raw(f"http://127.0.0.1:{port}/base/", "/stream?kind=ssh")
        async with stream:
            await stream.send_all(b"hi")
            await stream.send_eof()
            assert await read_all(stream) == b"SSH-2.0-x\r\nyou said hi"
    assert seen[0].target == "/base/stream?kind=ssh"
    assert seen[0].headers["host"] == f"127.0.0.1:{port}"
    assert seen[0].headers["authorization"] == "Bearer t"


async def test_a_refusal_comes_back_as_the_coordinators_error() -> None:
    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await stream.send_all(upgrade.encode_error(ForbiddenError("no", "not you", hint="ask")))

    async with serving(answering(answer)) as port:
        with pytest.raises(ForbiddenError) as caught:
            await open_raw(f"http://127.0.0.1:{port}/")
    assert caught.value.line() == "not you (ask)"


async def test_a_refusal_in_chunks_is_read_as_well() -> None:
    """A front may pass an answer on in a transfer coding of its own."""
    body = encode_error_body(ForbiddenError("no", "not you"))
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        await read_all(stream)

    async with serving(answering(answer)) as port:
        with pytest.raises(ForbiddenError, match="not you"):
            await open_raw(f"http://127.0.0.1:{port}/")


async def test_a_refusal_split_into_single_bytes_is_read_whole() -> None:
    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        for byte in upgrade.encode_error(ForbiddenError("no", "not you")):
            await stream.send_all(bytes([byte]))

    async with serving(answering(answer)) as port:
        with pytest.raises(ForbiddenError, match="not you"):
            await open_raw(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (b"", UnavailableError, "connection_closed"),
        (b"SSH-2.0-OpenSSH_9\r\n", ProtocolError, "head_incomplete"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", ProtocolError, "head_malformed"),
        (b"HTTP/1.1 \xb2\xb2\xb2 x\r\n\r\n", ProtocolError, "head_malformed"),
        (b"x" * 40_000, ProtocolError, "head_too_large"),
        (b"HTTP/1.1 502 Bad\r\n\r\n<html>", UnavailableError, "upgrade_refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n", ProtocolError, "head_malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\nx", UnavailableError,
         "upgrade_refused"),
        (b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n", UnavailableError, "upgrade_refused"),
    ],
)  # fmt: skip
async def test_a_strange_answer_is_a_kled_error(
    said: bytes, kind: type[KledError], code: str
) -> None:
    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await stream.send_all(said)
        await stream.send_eof()
        await read_all(stream)

    async with serving(answering(answer)) as port:
        with pytest.raises(kind) as caught:
            await open_raw(f"http://127.0.0.1:{port}/")
    assert caught.value.code == code


async def test_a_reset_instead_of_an_answer_is_unreachable() -> None:
    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        reset(stream)

    async with serving(answering(answer)) as port:
        with pytest.raises(UnavailableError) as caught:
            await open_raw(f"http://127.0.0.1:{port}/")
    assert caught.value.code == "coordinator_unreachable"


# --- the fallback


@pytest.mark.parametrize(
    "refusal",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        upgrade.encode_error(UpgradeRequiredError("upgrade_required", "wants an upgrade")),
    ],
)
async def test_where_the_upgrade_is_stripped_websocket_messages_carry_the_stream(
    refusal: bytes,
) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        head = await read_head(stream)
        if b"kled-stream" in head:
            await stream.send_all(refusal)
            await stream.aclose()
            return
        async with trio.open_nursery() as nursery:
            prefixed = PrefixedStream(head, stream)
            request = await trio_websocket.wrap_server_stream(nursery, prefixed)
            connection = await request.accept()
            while message := await connection.get_message():
                await connection.send_message(message)
            await connection.send_message(b"")
            nursery.cancel_scope.cancel()

    async with serving(handle) as port, trio.open_nursery() as nursery:
        address = parse_url(f"http://127.0.0.1:{port}")
        stream = await open_upgraded(address, "/", headers={"A": "b"}, nursery=nursery)
        await stream.send_all(b"carried")
        await stream.send_eof()
        assert await read_all(stream) == b"carried"
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_refusal_by_the_coordinator_is_not_tried_again_as_websocket() -> None:
    asked = []

    async def answer(head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        asked.append(head.upgrade)
        await stream.send_all(upgrade.encode_error(ForbiddenError("no", "not you")))

    async with serving(answering(answer)) as port, trio.open_nursery() as nursery:
        address = parse_url(f"http://127.0.0.1:{port}")
        with pytest.raises(ForbiddenError):
            await open_upgraded(address, "/", headers={}, nursery=nursery)
    assert asked == ["kled-stream"]
