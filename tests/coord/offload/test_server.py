"""The loop of an offload process, run in a thread or by hand."""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("epoll(7) is Linux's", allow_module_level=True)

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from kled_coord.offload.handover import PACKET_MAX, Crashed, LayerKind, StopOffload, Take, decode
from kled_coord.offload.server import OffloadServer
from kled_coord.offload.websocket import WebSocketLayer
from tests.coord.relay.sockets import connected

READY = select.EPOLLIN


def hand_over(ours: socket.socket, ahead: bytes = b"") -> tuple[socket.socket, socket.socket]:
    """A connection that is a WebSocket already: the peer's end and the plain one."""
    peer, outer = connected()
    plain, inner = socket.socketpair()
    with outer, inner:
        take = Take(LayerKind.WEBSOCKET, ahead)
        socket.send_fds(ours, [take.encode()], [outer.fileno(), inner.fileno()])
    return peer, plain


def message(data: bytes) -> bytes:
    return Connection(ConnectionType.CLIENT).send(BytesMessage(data=data))


@contextmanager
def made(**limits: float) -> Iterator[tuple[socket.socket, OffloadServer]]:
    """A server, and the coordinator's end of its control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, OffloadServer(theirs, None, **limits)


@contextmanager
def running(running_server: OffloadServer, ours: socket.socket) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=running_server.run)
    thread.start()
    yield thread
    if thread.is_alive():
        ours.send(StopOffload().encode())
    thread.join(10)
    assert not thread.is_alive()


def test_what_was_read_ahead_is_the_beginning() -> None:
    with made() as (ours, loop), running(loop, ours):
        sent = message(b"ahead")
        peer, plain = hand_over(ours, sent[:3])
        with peer, plain:
            peer.sendall(sent[3:])
            assert plain.recv(100) == b"ahead"


def test_a_break_in_what_was_read_ahead_ends_it() -> None:
    with made() as (ours, loop), running(loop, ours):
        peer, plain = hand_over(ours, b"no frame of a WebSocket")
        with peer, plain:
            assert plain.recv(100) == b""
            assert peer.recv(100)[:1] == b"\x88"


def test_the_end_of_the_coordinator_is_not_that_of_connections() -> None:
    with made() as (ours, loop):
        peer, plain = hand_over(ours)
        with running(loop, ours) as thread, peer, plain:
            peer.sendall(message(b"x"))
            assert plain.recv(100) == b"x"
            ours.close()
            peer.sendall(message(b"y"))
            assert plain.recv(100) == b"y"
            peer.close()
            assert plain.recv(100) == b""
            thread.join(10)


def test_a_bug_ends_only_the_connection_that_meets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = WebSocketLayer.receive

    def crash(layer: WebSocketLayer, data: bytes) -> list[bytes]:
        if message(b"crash")[:2] == data[:2]:
            raise ZeroDivisionError("found by a stranger")
        return receive(layer, data)

    monkeypatch.setattr(WebSocketLayer, "receive", crash)
    with made() as (ours, loop), running(loop, ours):
        (peer, plain), (doomed, end) = hand_over(ours), hand_over(ours)
        with peer, plain, doomed, end:
            doomed.sendall(message(b"crash"))
            assert end.recv(100) == b""
            assert decode(ours.recv(PACKET_MAX)) == Crashed(
                "ZeroDivisionError: found by a stranger"
            )
            peer.sendall(message(b"fine as ever"))
            assert plain.recv(100) == b"fine as ever"


def test_a_peer_that_takes_nothing_is_given_up_when_nobody_is_behind_it() -> None:
    with made(linger_s=0.2) as (ours, loop), running(loop, ours):
        peer, plain = hand_over(ours)
        with peer:
            plain.setblocking(False)
            while select.select([], [plain], [], 0.2)[1]:
                plain.send(bytes(65536))
            plain.close()
            got, reset = 0, False
            # Not read yet: what arrives is what had fitted into the sockets.
            select.select([], [], [], 0.5)
            while data := peer.recv(1_000_000):
                got += len(data)
            reset = not data
        assert reset
        assert got


def test_in_a_round_small_ones_go_first_and_one_bulk_takes_a_step() -> None:
    with made() as (ours, loop):
        ends = [hand_over(ours) for _ in range(3)]
        for _ in ends:
            loop._receive()
        served = list(dict.fromkeys(loop.by_descriptor.values()))
        bulk, other, small = (one.connection for one in served)
        bulk.moved = other.moved = 10_000_000
        for (peer, plain), data in zip(ends, (b"1", b"2", b"3"), strict=True):
            peer.sendall(message(data))
            plain.setblocking(False)
        ready = [(one.outer.fileno(), READY) for one in (bulk, other, small)]
        order = []
        for _ in range(2):
            loop.serve_ready(ready, time.monotonic())
            order.append([came(plain) for _, plain in ends])
        assert order == [[b"1", b"", b"3"], [b"", b"2", b""]]
        for end in (end for pair in ends for end in pair):
            end.close()
        ours.send(StopOffload().encode())
        loop.run()


def came(plain: socket.socket) -> bytes:
    try:
        return plain.recv(100)
    except BlockingIOError:
        return b""
