"""Dialling: nobody there, proxies, TLS."""

from __future__ import annotations

import base64
import socket
import ssl

import pytest
import trio
import trustme

from kled_wire.errors import UnavailableError
from kled_wire.http import upgrade
from kled_wire.http.headio import read_head
from kled_wire.transport.pump import pump
from kled_wire.transport.tls import TlsStream
from tests.wire.sockets import answering, open_raw, read_all, reset, serving


async def test_a_port_where_nothing_listens_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match=r"reached: Connection refused$") as caught:
            await open_raw(f"http://127.0.0.1:{taken.getsockname()[1]}/")
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

    async with serving(answering(coordinator)) as port, serving(answering(proxy)) as through:
        monkeypatch.setenv("http_proxy", f"http://al%40ice:pw@127.0.0.1:{through}")
        async with await open_raw("http://192.0.2.1:8080/") as stream:
            await stream.send_eof()
            assert await read_all(stream) == b"through"
    assert (asked[0].method, asked[0].target) == ("CONNECT", "192.0.2.1:8080")
    authorization = asked[0].headers["proxy-authorization"]
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"al@ice:pw"


async def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    async with serving(answering(proxy)) as through:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{through}")
        with pytest.raises(UnavailableError, match="407 Proxy Auth") as caught:
            await open_raw("http://192.0.2.1/")
    assert caught.value.code == "proxy_refused"


async def test_a_proxy_that_resets_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(_head: upgrade.RequestHead, stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        reset(stream)

    async with serving(answering(proxy)) as through:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{through}")
        with pytest.raises(UnavailableError, match="proxy") as caught:
            await open_raw("http://192.0.2.1/")
    assert caught.value.code == "coordinator_unreachable"


async def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UnavailableError, match=r"the proxy 127\.0\.0\.1"):
            await open_raw("http://192.0.2.1/")


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
        async with await open_raw(url, ssl_context=trusting) as stream:
            await stream.send_all(b"hi")
            await stream.send_eof()
            assert await read_all(stream) == b"you said hi"
        with pytest.raises(UnavailableError, match="certificate verify failed") as caught:
            await open_raw(url)
        assert caught.value.code == "tls_failed"


async def test_https_to_a_plain_server_is_a_tls_failure() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with serving(handle) as port:
        with pytest.raises(UnavailableError) as caught:
            await open_raw(f"https://127.0.0.1:{port}/")
    assert caught.value.code == "tls_failed"
