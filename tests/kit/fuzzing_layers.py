"""What strangers may say to what terminates TLS and WebSocket framing: anything, at any time.

A peer of either kind speaks as it should, and the input says what becomes of that on the way.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

import trustme
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping

from kled_coord.offload.layer import Layer, LayerBrokenError
from kled_coord.offload.tls import TlsLayer
from kled_coord.offload.websocket import WebSocketLayer
from kled_wire.transport.tlssession import RECORD_BYTES, TlsSession
from tests.kit.pieces import in_pieces, pieces

# Bits of the input's first byte: the handshake is left alone, it is that of TLS 1.2.
GREETED, OLD = 1, 2
_OPEN: Final = ConnectionState.OPEN
_NAME: Final = "localhost"
_RECORD_HEAD: Final = 5
# A record may be so much longer than what it holds (RFC 8446, section 5.2).
_RECORD_MORE: Final = 256 + _RECORD_HEAD


class Peer(ABC):
    """The other end of a layer, by the book. What it has to say comes out as bytes to send."""

    def __init__(self) -> None:
        self.heard = bytearray()
        # Whether the layer's side has said in good order that no more comes, and this one.
        self.heard_end = False
        self.ended = False
        # Whether it may say more than its greeting.
        self.open = True

    @abstractmethod
    def write(self, data: bytes) -> bytes:
        """Plain bytes."""

    @abstractmethod
    def end(self) -> bytes:
        """The half-close."""

    @abstractmethod
    def chatter(self) -> bytes:
        """Something that has to be answered, or nothing."""

    @abstractmethod
    def hear(self, data: bytes) -> bytes:
        """Take what the layer has said, which must be right; what is to be said to that."""


class TlsPeer(Peer):
    """A client of TLS."""

    def __init__(self, *, old: bool) -> None:
        super().__init__()
        self._session = TlsSession(_contexts()[1 + old], server_hostname=_NAME)
        self.open = False

    def greet(self) -> bytes:
        """Begin."""
        self.open = self._session.handshake()
        return self._session.take()

    def write(self, data: bytes) -> bytes:
        self._session.write(data)
        return self._session.take()

    def end(self) -> bytes:
        self.ended = True
        self._session.end()
        return self._session.take()

    def chatter(self) -> bytes:
        return b""

    def hear(self, data: bytes) -> bytes:
        if data:
            self._session.feed(data)
        said = b"" if self.open else self.greet()
        return said + self._read() if self.open else said

    def _read(self) -> bytes:
        while piece := self._session.read():
            self.heard += piece
        self.heard_end = self.heard_end or piece == b""
        return self._session.take()


class WebSocketPeer(Peer):
    """A client after its 101."""

    def __init__(self) -> None:
        super().__init__()
        self._connection = Connection(ConnectionType.CLIENT)

    def write(self, data: bytes) -> bytes:
        return self._say(BytesMessage(data=data)) if data else b""

    def end(self) -> bytes:
        self.ended = True
        return self._say(BytesMessage(data=b""))

    def chatter(self) -> bytes:
        return self._say(Ping(payload=b"x" * 125))

    def _say(self, event: Event) -> bytes:
        """Nothing where the other side has said that it is over."""
        return self._connection.send(event) if self._connection.state is _OPEN else b""

    def close(self, code: int) -> bytes:
        """Say that it is over, without waiting for an answer."""
        return Connection(ConnectionType.CLIENT).send(CloseConnection(code=code))

    def hear(self, data: bytes) -> bytes:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, BytesMessage):
                assert not (event.data and self.heard_end), "bytes after the half-close"
                self.heard += event.data
                self.heard_end = self.heard_end or not event.data
        return b""


@functools.cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
    """The server's, a client's, and that of a client of TLS 1.2."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(_NAME).configure_cert(server)
    new, old = ssl.create_default_context(), ssl.create_default_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for client in (new, old):
        authority.configure_trust(client)
    return server, new, old


def make_tls_layer() -> TlsLayer:
    """A server's side that `TlsPeer` trusts."""
    return TlsLayer(_contexts()[0])


def split_records(data: bytes) -> Iterator[bytes]:
    """The TLS records in it."""
    while data:
        size = _RECORD_HEAD + int.from_bytes(data[3:5], "big")
        yield data[:size]
        data = data[size:]


class _Case:
    """A layer, used as a connection uses it, and its peer."""

    def __init__(self, layer: Layer, peer: Peer) -> None:
        self.layer = layer
        self.peer = peer
        self.fed = 0
        self.plain = bytearray()
        self.sent = bytearray()
        self._said_end = False

    def feed(self, data: bytes, size: int) -> None:
        """In pieces of `size`; the peer hears what the layer says to that, see `listen`."""
        for start in range(0, len(data), size):
            if self.layer.ended:
                return
            self.take_in(data[start : start + size])

    def take_in(self, data: bytes) -> None:
        """One piece, or the end."""
        self.fed += len(data)
        for piece in self.layer.receive(data):
            self.plain += piece
        assert len(self.plain) <= self.fed

    def send(self, data: bytes) -> None:
        """Plain bytes for the peer, where it is time for them."""
        if data and self.layer.open and not (self.layer.finished or self._said_end):
            self.layer.send(data)
            self.sent += data

    def send_eof(self, *, close: bool) -> None:
        """The half-close, and the end where `close`."""
        if self.layer.open and not self._said_end:
            self._said_end = True
            self.layer.send_eof()
            if close:
                self.layer.close()


def tls_layer(data: bytes) -> None:
    """Records lost, damaged, doubled, in another order, between garbage, from the first one on."""
    how = data[0] if data else 0
    case = _TlsCase(old=bool(how & OLD))
    with contextlib.suppress(LayerBrokenError):
        if how & GREETED:
            case.greet()
        for piece in filter(None, pieces(data[1:])):
            case.act(piece[0], piece[1:])
            assert case.peer.heard == case.sent[: len(case.peer.heard)]
            assert case.plain == case.written[: len(case.plain)]
            assert case.layer._session._incoming.pending < RECORD_BYTES + _RECORD_MORE
    # An alert at most.
    assert len(case.layer.take()) <= len(case.sent) * 2 + 64 * 1024


class _TlsCase(_Case):
    layer: TlsLayer
    peer: TlsPeer

    def __init__(self, *, old: bool) -> None:
        super().__init__(make_tls_layer(), TlsPeer(old=old))
        self.written = bytearray()
        self._queue = list(split_records(self.peer.greet()))
        # What has got to the layer is what the peer said.
        self._unspoilt = True

    def greet(self) -> None:
        """The whole handshake."""
        while not (self.layer.open and self.peer.open):
            while self._queue:
                self.feed(self._queue.pop(0), 65536)
            self.listen()

    def listen(self) -> None:
        """The peer hears what the layer says; one that has been spoilt may say an alert."""
        if self._unspoilt:
            self._queue += split_records(self.peer.hear(self.layer.take()))

    def act(self, what: int, data: bytes) -> None:
        """A piece of the input. Raises LayerBrokenError."""
        match what % 9:
            case 0:
                self._unspoilt = False
                self.feed(data, 1 + what)
            case 1 if self.peer.open and not self.peer.ended:
                self.written += data
                self._queue += split_records(self.peer.write(data) if data else self.peer.end())
            case 2:
                self._unspoilt = self._unspoilt and bool(data)
                self.send(data)
            case 3:
                self.send_eof(close=what > 127)
            case 4 if self._queue and len(data) > 1:
                record = bytearray(self._queue[0])
                record[data[0] % len(record)] ^= data[1]
                self._unspoilt = False
                self._queue[0] = bytes(record)
            case 5 if self._queue:
                self._queue.insert(0, self._queue[0])
                self._unspoilt = False
            case 6 if len(self._queue) > 1:
                self._queue.append(self._queue.pop(0))
                self._unspoilt = False
            case 7 if not self.layer.ended:
                self.take_in(b"")
            case _:
                if self._queue:
                    self.feed(self._queue.pop(0), 1 + what)
        self.listen()


def websocket_layer(data: bytes) -> None:
    """Frames in any order, cut anywhere, between garbage."""
    case = _WebSocketCase()
    with contextlib.suppress(LayerBrokenError):
        for piece in filter(None, pieces(data)):
            case.act(piece[0], piece[1:])
            assert case.plain[: len(case.written)] == case.written[: len(case.plain)]
            assert case.spoilt or len(case.plain) <= len(case.written)
            case.listen()
            # A header, or a whole control frame, is all that is ever waited for.
            held = case.layer._connection._proto._frame_decoder.buffer
            assert case.layer.ended or len(held) < 14 + 125
    case.listen()


class _WebSocketCase(_Case):
    layer: WebSocketLayer
    peer: WebSocketPeer

    def __init__(self) -> None:
        super().__init__(WebSocketLayer(), WebSocketPeer())
        # What was written before the first garbage.
        self.written = bytearray()
        self.spoilt = False

    def listen(self) -> None:
        """What the layer says is right whatever it is told."""
        said = self.layer.take()
        assert len(said) <= self.fed + 2 * len(self.sent) + 256
        if said:
            self.peer.hear(said)
        assert self.peer.heard == self.sent[: len(self.peer.heard)]

    def act(self, what: int, data: bytes) -> None:
        """A piece of the input. Raises LayerBrokenError."""
        size = 1 + what
        match what % 8:
            case 0:
                self.spoilt = True
                self.feed(data, size)
            case 1 | 2:
                said = self.peer.write(data)
                if said and not (self.spoilt or self.layer.ended):
                    self.written += data
                self.feed(said, size)
            case 3:
                self.feed(self.peer.end(), size)
            case 4:
                self.feed(self.peer.chatter(), size)
            case 5:
                self.spoilt = True
                self.feed(self.peer.close(1000 + sum(data)), size)
            case 6:
                self.send(data)
            case _:
                self.send_eof(close=what > 127)


def tls_seeds() -> list[bytes]:
    """Talk after a handshake, and handshakes that are let through, of both versions."""
    talk = in_pieces(b"\x01hello", b"\x08", b"\x02answer", b"\x01again", b"\x05", b"\x06", b"\x08")
    ends = in_pieces(b"\x01last", b"\x01", b"\x08", b"\x08", b"\x03", b"\x84")
    damage = in_pieces(b"\x01hello", b"\x04\x09\x01", b"\x08")
    through = in_pieces(*[b"\xfb"] * 6)
    garbage = in_pieces(b"\x90GET / HTTP/1.1\r\n", b"\x07")
    return [
        *(bytes([GREETED | old]) + said for old in (0, OLD) for said in (talk, ends, damage)),
        *(bytes([old]) + through + talk for old in (0, OLD)),
        b"\0" + garbage,
    ]


def websocket_seeds() -> list[bytes]:
    """Messages, pings and ends."""
    return [
        in_pieces(b"\x81hello", b"\x84", b"\x86answer", b"\x83", b"\x87"),
        in_pieces(b"\x01hello", b"\x04", b"\x06answer", b"\x07", b"\x03"),
        in_pieces(b"\x82hello", b"\x85", b"\xff"),
        in_pieces(b"\x80\x82\x85\0\0\0\0hello\x82\x80\0\0\0\0", b"\x80\x81\x80\0\0\0\0"),
    ]
