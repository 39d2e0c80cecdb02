"""Dialling: addresses, proxies, TLS, the upgrade, and every way it can be refused."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio_websocket
import trustme
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import (
    ConfigError,
    ForbiddenError,
    KledError,
    ProtocolError,
    UnavailableError,
)
from kled_wire.http import upgrade
from kled_wire.http.headio import read_head
from kled_wire.transport import dial
from kled_wire.transport.pump import pump
from kled_wire.transport.tls import TlsStream
from tests.wire.sockets import read_all, serving

Answer = Callable[[upgrade.RequestHead, trio.SocketStream], Awaitable[None]]


def _answering(answer: Answer) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await answer(upgrade.parse_request(await read_head(stream)), stream)

    return handle


async def _open(url: str, **more: ssl.SSLContext) -> trio.abc.HalfCloseableStream:
    with trio.fail_after(10):
        return await dial.upgrade_raw(url, headers={"Authorization": "Bearer t"}, **more)


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "base", "authority"),
    [
        ("http://h", "http", "h", 80, "", "h"),
        ("https://H.example/", "https", "h.example", 443, "", "h.example"),
        ("https://h:8443/kled/", "https", "h", 8443, "/kled", "h:8443"),
        ("http://[::1]:80/a/b", "http", "::1", 80, "/a/b", "[::1]"),
        ("https://b\u00fccher.example", "https", "xn--bcher-kva.example", 443, "",
         "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_a_url_is_read(
    url: str, scheme: str, host: str, port: int, base: str, authority: str
) -> None:
    address = dial.parse_url(url)
    assert (address.scheme, address.host, address.port) == (scheme, host, port)
    assert (address.base, address.authority) == (base, authority)


@pytest.mark.parametrize(
    "url",
    ["", "h", "h:80", "ftp://h", "http://", "http://h:x", "http://h:70000", "http://[::1",
     "http://h/a b", "http://h/\u00fc", "http://a..b", "http://" + "a" * 64 + ".b", "//h"],
)  # fmt: skip
def test_what_is_no_coordinators_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dial.parse_url(url)
    assert caught.value.code == "url_invalid"


@given(st.text(max_size=40), st.sampled_from(["", "http://", "https://h", "http://h:1/"]))
def test_any_text_is_a_url_or_a_config_error(text: str, start: str) -> None:
    try:
        address = dial.parse_url(start + text)
    except ConfigError:
        return
    address.authority.encode("ascii")


async def test_an_upgrade_gives_the_raw_stream_with_what_came_along() -> None:
    seen = []

    async def answer(head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        seen.append(head)
        await stream.send_all(upgrade.encode_switching() + b"SSH-2.0-x\r\n")
        await stream.send_all(b"you said " + await read_all(stream))

    async with serving(_answering(answer)) as port:
        stream = await _open(f"http://127.0.0.1:{port}/base/stream?kind=ssh")
        async with stream:
            await stream.send_all(b"hi")
            await stream.send_eof()
            assert await read_all(stream) == b"SSH-2.0-x\r\nyou said hi"
    assert seen[0].target == "/base/stream?kind=ssh"
    assert seen[0].headers["host"] == f"127.0.0.1:{port}"
    assert seen[0].headers["authorization"] == "Bearer t"


async def test_a_port_where_nothing_listens_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match=r"reached: Connection refused$") as caught:
            await _open(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert caught.value.code == "coordinator_unreachable"


async def test_a_refusal_comes_back_as_the_coordinators_error() -> None:
    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await stream.send_all(upgrade.encode_error(ForbiddenError("no", "not you", hint="ask")))

    async with serving(_answering(answer)) as port:
        with pytest.raises(ForbiddenError) as caught:
            await _open(f"http://127.0.0.1:{port}/")
    assert caught.value.line() == "not you (ask)"


async def test_a_refusal_split_into_single_bytes_is_read_whole() -> None:
    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        for byte in upgrade.encode_error(ForbiddenError("no", "not you")):
            await stream.send_all(bytes([byte]))

    async with serving(_answering(answer)) as port:
        with pytest.raises(ForbiddenError, match="not you"):
            await _open(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (b"", UnavailableError, "connection_closed"),
        (b"SSH-2.0-OpenSSH_9\r\n", ProtocolError, "head_incomplete"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", ProtocolError, "head_malformed"),
        (b"HTTP/1.1 \xb2\xb2\xb2 x\r\n\r\n", ProtocolError, "head_malformed"),
        (b"x" * 40_000, ProtocolError, "head_too_large"),
        (b"HTTP/1.1 502 Bad\r\n\r\n<html>", UnavailableError, "upgrade_refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n", UnavailableError, "upgrade_refused"),
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

    async with serving(_answering(answer)) as port:
        with pytest.raises(kind) as caught:
            await _open(f"http://127.0.0.1:{port}/")
    assert caught.value.code == code


def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def test_a_reset_instead_of_an_answer_is_unreachable() -> None:
    async def answer(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        _reset(stream)

    async with serving(_answering(answer)) as port:
        with pytest.raises(UnavailableError) as caught:
            await _open(f"http://127.0.0.1:{port}/")
    assert caught.value.code == "coordinator_unreachable"


# --- through a proxy; 192.0.2.0/24 is nobody's (RFC 5737), so only the proxy can be reached


async def test_a_proxy_is_asked_with_its_password_and_leads_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    async def coordinator(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await stream.send_all(upgrade.encode_switching() + b"through")

    async def proxy(head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        asked.append(head)
        await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with await trio.open_tcp_stream("127.0.0.1", port) as onward:
            await pump(stream, onward)

    async with serving(_answering(coordinator)) as port, serving(_answering(proxy)) as through:
        monkeypatch.setenv("http_proxy", f"http://al%40ice:pw@127.0.0.1:{through}")
        async with await _open("http://192.0.2.1:8080/") as stream:
            await stream.send_eof()
            assert await read_all(stream) == b"through"
    assert (asked[0].method, asked[0].target) == ("CONNECT", "192.0.2.1:8080")
    authorization = asked[0].headers["proxy-authorization"]
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"al@ice:pw"


async def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    async with serving(_answering(proxy)) as through:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{through}")
        with pytest.raises(UnavailableError, match="407 Proxy Auth") as caught:
            await _open("http://192.0.2.1/")
    assert caught.value.code == "proxy_refused"


async def test_a_proxy_that_resets_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        _reset(stream)

    async with serving(_answering(proxy)) as through:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{through}")
        with pytest.raises(UnavailableError, match="proxy") as caught:
            await _open("http://192.0.2.1/")
    assert caught.value.code == "coordinator_unreachable"


async def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UnavailableError, match=r"the proxy 127\.0\.0\.1"):
            await _open("http://192.0.2.1/")


# --- TLS


async def test_https_is_tls_and_half_closes() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def handle(raw: trio.SocketStream) -> None:
        stream = TlsStream(raw, context, server_side=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            await stream.aclose()
            return
        await read_head(stream)
        await stream.send_all(upgrade.encode_switching())
        await stream.send_all(b"you said " + await read_all(stream))
        await stream.aclose()

    async with serving(handle) as port:
        url = f"https://127.0.0.1:{port}/"
        async with await _open(url, ssl_context=trusting) as stream:
            await stream.send_all(b"hi")
            await stream.send_eof()
            assert await read_all(stream) == b"you said hi"
        with pytest.raises(UnavailableError, match="certificate verify failed") as caught:
            await _open(url)
        assert caught.value.code == "tls_failed"


async def test_https_to_a_plain_server_is_a_tls_failure() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with serving(handle) as port:
        with pytest.raises(UnavailableError) as caught:
            await _open(f"https://127.0.0.1:{port}/")
    assert caught.value.code == "tls_failed"


# --- the fallback


async def test_where_the_upgrade_is_stripped_websocket_messages_carry_the_stream() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        head = await read_head(stream)
        if b"kled-stream" in head:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            await stream.aclose()
            return
        async with trio.open_nursery() as nursery:
            prefixed = dial.PrefixedStream(head, stream)
            request = await trio_websocket.wrap_server_stream(nursery, prefixed)  # type: ignore[arg-type]  # any stream will do
            connection = await request.accept()
            while message := await connection.get_message():
                await connection.send_message(message)
            await connection.send_message(b"")
            nursery.cancel_scope.cancel()

    async with serving(handle) as port, trio.open_nursery() as nursery:
        stream = await dial.open_upgraded(
            f"http://127.0.0.1:{port}/", headers={"A": "b"}, nursery=nursery
        )
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

    async with serving(_answering(answer)) as port, trio.open_nursery() as nursery:
        with pytest.raises(ForbiddenError):
            await dial.open_upgraded(f"http://127.0.0.1:{port}/", headers={}, nursery=nursery)
    assert asked == ["kled-stream"]
