"""What may become of a connection with a layer, in any order: real sockets, stepped by hand.

Two ends write, read, half-close, close and reset as the input says, with small buffers between
them. Only the documented errors come out; what an end gets is the beginning of what the other
wrote; a step that changes nothing is not asked for again and again; what is held has an end; and
once both ends are closed it is over.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from typing import Final

from kled_coord.offload.connection import CHUNK_BYTES, OffloadedConnection
from kled_coord.offload.layer import LayerBrokenError
from kled_coord.offload.websocket import WebSocketLayer
from tests.kit.fuzzing_layers import Peer, TlsPeer, WebSocketPeer, make_tls_layer
from tests.kit.pieces import in_pieces, pieces

# Bits of the input's first byte: TLS instead of WebSocket messages, that of 1.2, without a
# handshake before the rest.
_TLS, _OLD, _AT_ONCE = 1, 2, 4
_GONE: Final = select.EPOLLHUP | select.EPOLLERR
_SOCKET_BYTES: Final = 4096
# As much of both directions as one read and what the layer makes of it, and what it answers.
_HELD_MAX: Final = 5 * CHUNK_BYTES
# So often may the same thing be ready, with the same to be done, before it is called spinning.
_PATIENCE: Final = 3
# What is on its way to who waits for it, and the kernel's retries, take less.
_SETTLED_S: Final = 2.0
_RESET: Final = b"\1\0\0\0\0\0\0\0"


class _Site:
    """The peer, the connection, and who has the plain bytes."""

    def __init__(self, how: int) -> None:
        self.tls = bool(how & _TLS)
        self.peer: Peer = TlsPeer(old=bool(how & _OLD)) if self.tls else WebSocketPeer()
        self.far, outer = _connected()
        self.plain, inner = socket.socketpair()
        for end in (self.far, outer, self.plain, inner):
            end.setblocking(False)
        # Little fits in, so that the connection has to wait. What the peer says is taken at once.
        for end, option in (
            (outer, socket.SO_SNDBUF),
            (self.far, socket.SO_RCVBUF),
            (self.plain, socket.SO_SNDBUF),
            (inner, socket.SO_SNDBUF),
        ):
            end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
        layer = make_tls_layer() if self.tls else WebSocketLayer()
        self.connection = OffloadedConnection(outer, inner, layer)
        self.over = False
        # By descriptor: dead by epoll's word, and then not watched while nothing is wanted of it.
        self._dead: set[int] = set()
        # What the peer has to say and could not yet.
        self.unsaid = bytearray(self.peer.greet() if isinstance(self.peer, TlsPeer) else b"")
        self.written, self.got = bytearray(), bytearray()
        self.answered = bytearray()
        # Who has heard something else than what was said to them cannot be expected to be right.
        self.unspoilt = True

    # --- the connection

    def settle(self, wait_s: float = 0.0) -> None:
        """Step until nothing is ready."""
        before, same = None, 0
        while not self.over and (ready := self._ready(wait_s)):
            for descriptor, events in ready:
                if events & _GONE:
                    self._dead.add(descriptor)
                if not self.over:
                    self._step(descriptor, events)
            if self.over:
                return
            now = (ready, self._state())
            same = same + 1 if now == before else 0
            assert same < _PATIENCE, f"it spins: {now}"
            before = now
            assert self._held() <= _HELD_MAX

    def _ready(self, wait_s: float) -> list[tuple[int, int]]:
        with select.epoll() as epoll:
            for end in (self.connection.outer, self.connection.inner):
                wanted = self.connection.interest(end.fileno())
                if wanted or end.fileno() not in self._dead:
                    epoll.register(end, wanted)
            return epoll.poll(wait_s)

    def _step(self, descriptor: int, events: int) -> None:
        try:
            self.connection.step(descriptor, events)
        except OSError:
            self._end()
        except LayerBrokenError:
            self.connection.break_off()
            self._end()
        else:
            if self.connection.done:
                self._end()

    def _end(self) -> None:
        self.over = True
        self.connection.close()

    def _state(self) -> tuple[object, ...]:
        made = self.connection
        return (made.moved, self._held(), made._inner_ended, made._inner_gone, made._passed_on)

    def _held(self) -> int:
        waiting = (*self.connection._to_inner, *self.connection._to_outer)
        return sum(map(len, waiting))

    # --- the ends

    def say(self, data: bytes = b"") -> None:
        """As much as goes."""
        self.unsaid += data
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self.unsaid and self.far.fileno() >= 0:
                del self.unsaid[: self.far.send(self.unsaid)]

    def carry(self) -> None:
        """All that the peer has to say, as far as it goes."""
        waiting = len(self.unsaid) + 1
        while len(self.unsaid) < waiting:
            waiting = len(self.unsaid)
            self.say()
            self.settle()

    def write(self, data: bytes) -> None:
        """Plain bytes of the peer's."""
        if self.peer.open and not self.peer.ended:
            said = self.peer.write(data)
            if said and (self.unspoilt or self.tls):
                self.written += data
            self.say(said)

    def listen(self, most: int) -> None:
        """The peer takes so much, and answers what has to be answered."""
        if self.far.fileno() < 0 or not (data := _take(self.far, most)) or not self.unspoilt:
            return
        self.say(self.peer.hear(data))
        assert self.peer.heard == self.answered[: len(self.peer.heard)]

    def read(self, most: int) -> None:
        """Who has the plain bytes takes so many."""
        if self.plain.fileno() >= 0:
            self.got += _take(self.plain, most)

    def answer(self, data: bytes) -> None:
        """They write, as much as goes."""
        with contextlib.suppress(OSError):
            self.answered += data[: self.plain.send(data)]

    def check(self) -> None:
        """What has come, and whether a good end was one."""
        common = min(len(self.got), len(self.written))
        assert self.got[:common] == self.written[:common]
        assert len(self.got) <= len(self.written) or not (self.unspoilt or self.tls)
        assert not self.peer.heard_end or self.peer.heard == self.answered

    def end_all(self) -> None:
        """Both ends are closed; it must be over."""
        self.far.close()
        self.plain.close()
        self.settle(_SETTLED_S)
        assert self.over, self._state()


def offload_connection(data: bytes) -> None:
    """The target."""
    how = data[0] if data else 0
    site = _Site(how)
    try:
        if not how & _AT_ONCE:
            _greet(site)
        for piece in filter(None, pieces(data[1:])):
            _act(site, piece[0], piece[1:])
            # Odd ones come before anything is done about them.
            if not piece[0] & 1:
                site.carry()
            site.check()
        site.end_all()
    finally:
        site.connection.close()
        site.far.close()
        site.plain.close()


def _greet(site: _Site) -> None:
    while isinstance(site.peer, TlsPeer) and not (site.peer.open and site.connection._layer.open):
        site.say()
        site.settle()
        site.listen(65536)


def _act(site: _Site, what: int, data: bytes) -> None:
    """A piece of the input; the numbers in `data` are sizes."""
    size = 1 + int.from_bytes(data[:2], "little")
    act = what // 2 % 14
    if act < 7:
        _act_far(site, act, size, data)
    elif act < 13:
        _act_near(site, act, size)
    elif site.far.fileno() >= 0:
        if what > 127:
            site.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        site.far.close()


def _act_far(site: _Site, act: int, size: int, data: bytes) -> None:
    """What the peer does."""
    match act:
        case 0 | 1:
            site.write((data * size)[: min(size, 60_000)])
        case 2 if site.peer.open:
            site.say(site.peer.end())
        case 3:
            site.say(b"".join(site.peer.chatter() for _ in range(min(size, 2000))))
        case 4:
            site.unspoilt = site.unspoilt and not data
            site.say(data)
        case _:
            site.listen(size)


def _act_near(site: _Site, act: int, size: int) -> None:
    """What is done by who has the plain bytes; and the peer's end without a word."""
    match act:
        case 7 | 8:
            site.read(size)
        case 9:
            site.answer(bytes([size & 255]) * size)
        case 10 | 11:
            with contextlib.suppress(OSError):
                (site.plain if act == 10 else site.far).shutdown(socket.SHUT_WR)
        case _:
            site.plain.close()


def _take(end: socket.socket, most: int) -> bytes:
    try:
        return end.recv(most)
    except (BlockingIOError, ConnectionResetError):
        return b""


def _connected() -> tuple[socket.socket, socket.socket]:
    """Its segments are smaller than the buffers: a window that opens is told of at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = socket.socket()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SOCKET_BYTES // 8)
        made.connect(listener.getsockname())
        return made, listener.accept()[0]


def seeds() -> Iterator[bytes]:
    """Talk and ends of each kind, over both layers."""
    big = b"\xff\xff"
    scripts = [
        in_pieces(b"\0hello", b"\x12\x50", b"\x0e" + big, b"\x0a" + big, b"\x14", b"\x04"),
        in_pieces(b"\0" + big, b"\0" + big, b"\x12" + big, b"\x12" + big, b"\x18", b"\x0a" + big),
        in_pieces(b"\x12" + big, b"\x12" + big, b"\x06" + big, b"\x06" + big, b"\x0a" + big),
        in_pieces(b"\x04", b"\x12" + big, b"\x0e" + big, b"\xa7", b"\x14"),
        in_pieces(b"\0" + big, b"\x16", b"\xa6", b"\x0e" + big, b"\x18"),
        in_pieces(*[b"\x06" + big] * 6, b"\x0a" + big, b"\x0a" + big, b"\x12" + big),
        in_pieces(b"\x08garbage", b"\x12\x50"),
    ]
    for how in (0, _TLS, _TLS | _OLD, _TLS | _AT_ONCE):
        yield from (bytes([how]) + said for said in scripts)
