"""TLS as a layer, against a client's session, byte strings in between."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_coord.offload.layer import LayerBrokenError
from kled_coord.offload.tls import TlsLayer
from kled_wire.transport.tlssession import TlsSession
from tests.kit.examples import examples

PIECES = st.lists(st.binary(max_size=40_000), max_size=4)


@pytest.fixture(scope="module")
def contexts(ca: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and a client's."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return server, client


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def shake_hands(contexts: Contexts, size: int = 65536) -> tuple[TlsSession, TlsLayer]:
    """Everything cut into pieces of `size`."""
    server, client = contexts
    layer, session = TlsLayer(server), TlsSession(client, server_hostname="localhost")
    while not session.handshake() or not layer.open:
        for piece in cut(session.take(), size):
            assert layer.receive(piece) == []
        for piece in cut(layer.take(), size):
            session.feed(piece)
    return session, layer


@settings(max_examples=examples(25), deadline=None)
@given(PIECES, PIECES, st.integers(1, 70_000))
def test_bytes_and_ends_go_both_ways_however_they_are_cut(
    contexts: Contexts, there: list[bytes], back: list[bytes], size: int
) -> None:
    session, layer = shake_hands(contexts, size)
    got, found = b"", b""
    for piece in there:
        session.write(piece)
    session.end()
    for piece in cut(session.take(), size):
        got += b"".join(layer.receive(piece))
    assert got == b"".join(there)
    assert layer.ended
    assert not layer.finished
    # The other way goes on after that end.
    for piece in back:
        layer.send(piece)
    layer.send_eof()
    layer.close()
    session.feed(layer.take())
    while more := session.read():
        found += more
    assert more == b""
    assert found == b"".join(back)


def test_a_connection_that_just_ends_ends_the_reading(contexts: Contexts) -> None:
    session, layer = shake_hands(contexts)
    session.write(b"last words")
    assert layer.receive(session.take()) == [b"last words"]
    assert not layer.ended
    assert layer.receive(b"") == []
    assert layer.ended


@pytest.mark.parametrize("part", [7, 1000])
def test_a_connection_that_just_ends_may_still_wait_for_its_answer(
    contexts: Contexts, part: int
) -> None:
    session, layer = shake_hands(contexts)
    session.write(b"a record of which a part may have come")
    layer.receive(session.take()[:part])
    assert layer.receive(b"") == []
    layer.send(b"answer")
    layer.send_eof()
    session.feed(layer.take())
    assert session.read() == b"answer"
    assert session.read() == b""


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", bytes(100)]
)
def test_what_is_no_tls_breaks_it_and_is_told(contexts: Contexts, said: bytes) -> None:
    layer = TlsLayer(contexts[0])
    with pytest.raises(LayerBrokenError):
        layer.receive(said)
    # An alert (RFC 8446, section 6), so that a person at the other end learns something.
    assert layer.take()[:1] in {b"", b"\x15"}


def test_a_client_that_does_not_trust_us_breaks_it(contexts: Contexts) -> None:
    stranger = TlsSession(ssl.create_default_context(), server_hostname="localhost")
    layer = TlsLayer(contexts[0])
    assert not stranger.handshake()
    layer.receive(stranger.take())
    stranger.feed(layer.take())
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.handshake()
    with pytest.raises(LayerBrokenError, match=r"(?i)alert"):
        layer.receive(stranger.take())


def test_a_damaged_record_breaks_it(contexts: Contexts) -> None:
    session, layer = shake_hands(contexts)
    session.write(b"x" * 100)
    record = bytearray(session.take())
    record[-1] ^= 1
    with pytest.raises(LayerBrokenError):
        layer.receive(bytes(record))
    with pytest.raises(LayerBrokenError):
        layer.send(b"no more")
