"""The fake coordinator leaves nothing open: what it drops fails whichever test is collected in."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.client.fake import TOKEN, Fake, running

UPGRADE = (
    b"GET /api/v1/workspaces/dev/stream HTTP/1.1\r\nHost: x\r\nUpgrade: kled-stream\r\n"
    b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
)
TUNNEL = b"CONNECT x:1 HTTP/1.1\r\nProxy-Authorization: Basic cHJveHk6c2VjcmV0\r\n\r\n"


@pytest.mark.parametrize("words", [(), (UPGRADE,), (TUNNEL,), (TUNNEL, UPGRADE)])
def test_connections_that_are_open_at_its_end_are_closed(
    home: Path, words: tuple[bytes, ...]
) -> None:
    with running(home) as fake, connected(fake) as client:
        for word in words:
            client.sendall(word)
            assert client.recv(1000)
    assert_closed(client)


def test_so_is_one_in_its_tls_handshake(home: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with running(home, lambda fake: setattr(fake, "tls", context)) as fake:
        ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = ssl.create_default_context().wrap_bio(theirs, ours, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            hello.do_handshake()
        with connected(fake) as client:
            client.sendall(ours.read())
            assert client.recv(1000)
    assert_closed(client)


def test_so_is_one_whose_tls_the_fake_has_ended_and_its_peer_has_not(home: Path) -> None:
    authority = trustme.CA()
    context, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(trusting)
    with (
        running(home, lambda fake: setattr(fake, "tls", context)) as fake,
        connected(fake) as plain,
        trusting.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(b"GET /api/v1/version HTTP/1.1\r\nConnection: close\r\n\r\n")
        while client.recv(1000):
            pass
        left = socket.socket(fileno=client.detach())
    left.settimeout(20)
    assert_closed(left)


@contextmanager
def connected(fake: Fake) -> Iterator[socket.socket]:
    """The connection is left open: whoever has it closes it behind the fake's end."""
    client = socket.create_connection(("127.0.0.1", fake.port), timeout=20)
    try:
        yield client
    except BaseException:
        client.close()
        raise


def assert_closed(client: socket.socket) -> None:
    """Told so by the system; and what Python finds unclosed now becomes this test's failure."""
    with client, suppress(ConnectionResetError):
        while client.recv(1000):
            pass  # the rest of what was said before the close
    gc.collect()
