"""The API's connections under attack: heads, ends, peers that do not read or do not send."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kled_coord.front.admission import Admission
from kled_coord.front.asgi import SEND_S, AsgiServer
from kled_wire import limits

GET = b"GET /echo HTTP/1.1\r\nHost: h\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: h\r\n"
CLOSE = b"Connection: close\r\n"


async def echo(request: Request) -> JSONResponse:
    body = (await request.body()).decode("latin-1")
    return JSONResponse({"path": request.url.path, "body": body})


async def ignore(_request: Request) -> JSONResponse:
    return JSONResponse({"ignored": True})


async def large(_request: Request) -> Response:
    return Response(bytes(32 << 20))


async def streamed(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one ", b"two"):
            await trio.testing.wait_all_tasks_blocked()
            yield piece

    return StreamingResponse(pieces())


APP = Starlette(
    routes=[
        Route("/echo", echo, methods=["GET", "POST"]),
        Route("/ignore", ignore, methods=["POST"]),
        Route("/large", large),
        Route("/streamed", streamed),
    ]
)


async def conversation(*pieces: bytes) -> bytes:
    """All that comes back for these, sent one by one; the server must end."""
    near, far = trio.testing.memory_stream_pair()
    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(AsgiServer(APP, Admission()).serve_connection, far)
        with suppress(trio.BrokenResourceError):
            for piece in pieces:
                await near.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            await near.send_eof()
        with trio.fail_after(20):
            async for data in near:
                got += data
    return bytes(got)


WRONG = {
    "obs-fold": GET + b"A: b\r\n c\r\n\r\n",
    "bare LF": GET + b"A: b\nC: d\r\n\r\n",
    "all LF": b"GET /echo HTTP/1.1\nHost: h\n\n" + GET + b"\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "a list of lengths": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "a signed length": POST + b"Content-Length: +1\r\n\r\nx",
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in 1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": GET + b"A : b\r\n\r\n",
    "control character": GET + b"A: b\x00c\r\n\r\n",
    "two hosts": GET + b"Host: other\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "too large": GET + b"A: " + b"b" * limits.HEAD_MAX_BYTES + b"\r\n\r\n",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("pipelined", [False, True])
async def test_every_head_of_a_connection_is_checked(wrong, before, pipelined) -> None:
    good = [GET + b"\r\n"] * before
    pieces = [b"".join(good) + wrong] if pipelined else [*good, wrong]
    answer = await conversation(*pieces, GET + b"\r\n")
    assert answer.count(b"HTTP/1.1 200") == before
    assert answer.count(b"HTTP/1.1 400") == 1
    assert b'"head_' in answer


@pytest.mark.parametrize("extra", [b"\r\n", b"\r\n\r\n", b"\n", GET + b"\r\n", b"\x00" * 9])
@pytest.mark.parametrize("apart", [False, True])
async def test_what_follows_the_last_request_is_dropped(extra, apart, caplog) -> None:
    last = POST + CLOSE + b"Content-Length: 2\r\n\r\nhi"
    answer = await (conversation(last, extra) if apart else conversation(last + extra))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'{"path":"/echo","body":"hi"}')
    assert caplog.records == []


@pytest.mark.parametrize("trailer", [b"A: b\r\n\r\n", b"A: b\n\n", b"A: b\r\n c\r\n\r\n"])
@pytest.mark.parametrize("path", [b"/echo", b"/ignore"])
async def test_a_body_with_trailers_is_refused(trailer, path, caplog, capsys) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
    chunked = chunked.replace(b"/echo", path)
    answer = await conversation(GET + b"\r\n", chunked + trailer, GET + b"\r\n")
    first, *rest = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert first == b"200"
    # Who does not wait for the body may be answering when its trailers come.
    assert rest == [b"400"] or (path == b"/ignore" and len(rest) < 2)
    assert "crashed" not in capsys.readouterr().out + caplog.text


WEBSOCKET = CLOSE.replace(b"close", b"Upgrade") + b"Upgrade: websocket\r\n"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("more", [b"", b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AA==\r\n"])
async def test_a_websocket_is_a_request_like_others(version, more, caplog, capsys) -> None:
    asked = (GET + WEBSOCKET + more + b"\r\n").replace(b"1.1", version)
    answer = await conversation(GET + b"\r\n", asked, GET + b"\r\n")
    assert answer.count(b'"path":"/echo"') == (3 if version == b"1.1" else 2)
    assert "crashed" not in capsys.readouterr().out + caplog.text


@given(data=st.data())
def test_requests_are_answered_in_order_however_they_are_cut(data) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n"
    kinds = [GET + b"\r\n", POST + b"Content-Length: 3\r\n\r\nabc", chunked]
    asked = b"".join(data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(asked)), max_size=5)))
    pieces = [asked[i:j] for i, j in zip([0, *cuts], [*cuts, len(asked)], strict=True)]
    answer = trio.run(partial(conversation, *filter(None, pieces)))
    bodies = answer.split(b'"body":"')[1:]
    assert [body.split(b'"')[0] for body in bodies] == [
        b"abc" if part.startswith(b"POST") else b"" for part in split(asked)
    ]


def split(asked: bytes) -> list[bytes]:
    starts = sorted(i for m in (b"GET /", b"POST /") for i in found(asked, m))
    return [asked[i:] for i in starts]


def found(text: bytes, word: bytes) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(word, i)]


async def test_an_application_that_cancels_itself_at_its_end_holds_up_no_other_request() -> None:
    """Starlette's streamed answers do, once they hear that nobody listens any more."""
    ask = b"GET /streamed HTTP/1.1\r\nHost: h\r\n\r\n"
    got = await conversation(ask, ask, GET + CLOSE + b"\r\n")
    assert got.count(b"HTTP/1.1 200") == 3
    assert got.count(b"two") == 2


async def test_a_later_head_has_its_deadline_too() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(AsgiServer(APP, Admission(), head_s=0.3).serve_connection, far)
        await near.send_all(GET + b"\r\n")
        answer = bytearray()

        async def trickle() -> None:
            for byte in GET + b"A: " + b"b" * 10_000:
                await near.send_all(bytes([byte]))
                await trio.sleep(0.02)

        nursery.start_soon(trickle)
        with trio.fail_after(20):
            async for data in near:
                answer += data
        nursery.cancel_scope.cancel()
    assert b"head_timeout" in answer


async def served(
    nursery: trio.Nursery, send_s: float = SEND_S
) -> tuple[trio.SocketStream, trio.Event]:
    """A connection over a real socket with small buffers, and when the server has ended it."""
    ended = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await AsgiServer(APP, Admission(), send_s=send_s).serve_connection(stream)
        ended.set()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(partial(trio.serve_listeners, serve, [listener]))
    client = trio.socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await client.connect(listener.socket.getsockname())
    return trio.SocketStream(client), ended


async def test_a_client_that_never_reads_is_cut_off(nursery) -> None:
    client, ended = await served(nursery, send_s=0.3)
    await client.send_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
    with trio.fail_after(20):
        await ended.wait()
    await client.aclose()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("left", [0, 5_000_000])
async def test_a_body_that_nobody_takes_holds_no_connection(nursery, left) -> None:
    """The answer arrives whole however much is still being sent, and then it is over.

    Until the client closes; or, where it was to send more, for a moment.
    """
    client, ended = await served(nursery)
    length = 3_000_000
    head = b"POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (length + left)
    with trio.fail_after(20):
        await client.send_all(head + bytes(length))
        answer = bytearray()
        while not answer.endswith(b'{"ignored":true}'):
            data = await client.receive_some()
            assert data
            answer += data
        await client.aclose()
        await ended.wait()
    nursery.cancel_scope.cancel()
