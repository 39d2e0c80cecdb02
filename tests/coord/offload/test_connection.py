"""A connection with a layer, stepped by hand: an epoll loop as small as it gets."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if not sys.platform.startswith("linux"):
    pytest.skip("epoll(7) is Linux's", allow_module_level=True)

from kled_coord.offload.connection import CHUNK_BYTES, OffloadedConnection
from kled_coord.offload.layer import LayerBrokenError
from tests.coord.relay.sockets import connected
from tests.kit.examples import examples

END = b"."
BIG = 8_000_000


@dataclass
class Dots:
    """A layer for tests: open at the first byte, a dot is the half-close, "!" breaks it."""

    open: bool = True
    ended: bool = False
    finished: bool = False
    outgoing: bytearray = field(default_factory=bytearray)

    def receive(self, data: bytes) -> list[bytes]:
        self.open = True
        if b"!" in data:
            self.outgoing += b"what?"
            raise LayerBrokenError("!")
        self.ended = not data or data.endswith(END)
        return [data.removesuffix(END)]

    def send(self, data: bytes) -> None:
        self.outgoing += data

    def send_eof(self) -> None:
        self.outgoing += END

    def close(self) -> None:
        self.outgoing += b"bye"

    def take(self) -> bytes:
        data = bytes(self.outgoing)
        self.outgoing.clear()
        return data


class Echoing(Dots):
    """One whose peer only asks, and is answered."""

    def receive(self, data: bytes) -> list[bytes]:
        self.outgoing += data
        return []


@dataclass
class Site:
    """The peer's end, the connection, the end of whoever gets the plain bytes."""

    peer: socket.socket
    connection: OffloadedConnection
    plain: socket.socket
    layer: Dots
    dead: set[int] = field(default_factory=set)

    def settle(self) -> None:
        """Step until nothing is ready; a socket without interest that is dead is left out."""
        connection = self.connection
        while not connection.done:
            epoll = select.epoll()
            with epoll:
                for end in (connection.outer, connection.inner):
                    wanted = connection.interest(end.fileno())
                    if wanted or end.fileno() not in self.dead:
                        epoll.register(end, wanted)
                if not (events := epoll.poll(0.02)):
                    return
                for descriptor, event in events:
                    if event & (select.EPOLLHUP | select.EPOLLERR):
                        self.dead.add(descriptor)
                    connection.step(descriptor, event)


@pytest.fixture
def site() -> Iterator[Site]:
    made = make(Dots())
    yield made
    close(made)


def make(layer: Dots) -> Site:
    peer, outer = connected()
    plain, inner = socket.socketpair()
    for end in (outer, inner, peer, plain):
        end.setblocking(False)
    return Site(peer, OffloadedConnection(outer, inner, layer), plain, layer)


def close(site: Site) -> None:
    site.connection.close()
    site.peer.close()
    site.plain.close()


def read(end: socket.socket, site: Site) -> bytes:
    """Everything up to the end, or up to where nothing comes any more."""
    got = bytearray()
    while True:
        site.settle()
        try:
            data = end.recv(1_000_000)
        except BlockingIOError:
            return bytes(got)
        if not data:
            return bytes(got) + b"|"
        got += data


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(st.binary(max_size=4000).map(lambda b: b.replace(b"!", b"?").replace(END, b",")),
             max_size=8),
    st.lists(st.binary(max_size=4000), max_size=8),
)  # fmt: skip
def test_bytes_and_ends_go_both_ways(there: list[bytes], back: list[bytes]) -> None:
    site = make(Dots())
    try:
        for piece in there:
            site.peer.send(piece)
        for piece in back:
            site.plain.send(piece)
        site.settle()
        site.peer.send(END)
        assert read(site.plain, site) == b"".join(there) + b"|"
        assert not site.connection.done
        site.plain.shutdown(socket.SHUT_WR)
        assert read(site.peer, site).startswith(b"".join(back) + END)
        assert site.connection.done
    finally:
        close(site)


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_slow_reader_holds_the_other_side_up_and_loses_nothing(site: Site, way: str) -> None:
    source, sink = (site.peer, site.plain) if way == "in" else (site.plain, site.peer)
    sent = 0
    while sent < BIG:
        try:
            sent += source.send(b"x" * min(CHUNK_BYTES, BIG - sent))
        except BlockingIOError:
            site.settle()
            try:
                sent += source.send(b"x")
            except BlockingIOError:
                break
    assert sent < BIG
    got = 0
    while got < sent:
        got += len(sink.recv(1_000_000))
        site.settle()
    assert got == sent
    assert site.connection.moved == sent


@pytest.mark.slow
def test_a_peer_that_asks_and_does_not_listen_is_not_read_for_ever() -> None:
    site = make(Echoing())
    limit_buffers(site, CHUNK_BYTES)
    asked = 0
    for _ in range(BIG // CHUNK_BYTES):
        with contextlib.suppress(BlockingIOError):
            asked += site.peer.send(b"?" * CHUNK_BYTES)
        site.settle()
        assert sum(map(len, site.connection._to_outer)) <= 3 * CHUNK_BYTES
    assert asked < BIG
    answered = 0
    while answered < asked:
        assert select.select([site.peer], [], [], 20)[0]
        answered += len(site.peer.recv(1_000_000))
        site.settle()
    close(site)


def limit_buffers(site: Site, size: int = 4096) -> None:
    site.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    site.connection.outer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def test_what_was_written_before_a_close_reaches_the_peer(site: Site) -> None:
    site.plain.send(b"the answer")
    site.plain.close()
    site.settle()
    assert site.connection.done
    assert site.peer.recv(100) == b"the answer" + END + b"bye"


def test_a_close_with_something_unread_takes_no_answer_along_and_is_no_good_end(
    site: Site,
) -> None:
    site.peer.send(b"not read")
    site.settle()
    site.plain.send(b"the answer")
    site.plain.close()
    site.settle()
    assert site.connection.done
    assert site.peer.recv(100) == b"the answer"


def test_what_the_peer_still_sends_takes_no_answer_along(site: Site) -> None:
    with contextlib.suppress(BlockingIOError):
        while site.peer.send(b"x" * CHUNK_BYTES):
            site.settle()
    site.plain.send(b"the answer")
    site.plain.close()
    site.settle()
    # To close with something unread is a reset, which overtakes what is on its way.
    assert not site.connection.done
    assert site.connection.lingering
    site.peer.setblocking(True)
    site.peer.settimeout(20)
    assert site.peer.recv(100) == b"the answer"
    assert site.peer.recv(100) == b""
    site.peer.close()
    site.settle()
    assert site.connection.done


@pytest.mark.slow
def test_a_peer_that_does_not_take_the_last_bytes_lets_it_linger(site: Site) -> None:
    limit_buffers(site)
    sent = 0
    while not site.connection.interest(site.connection.outer.fileno()) & select.EPOLLOUT:
        sent += site.plain.send(b"x" * CHUNK_BYTES)
        site.settle()
    assert not site.connection.lingering
    site.plain.close()
    site.settle()
    assert site.connection.lingering
    assert not site.connection.done
    got = b""
    while not got.endswith(b"bye"):
        assert select.select([site.peer], [], [], 20)[0]
        got += site.peer.recv(1_000_000)
        site.settle()
    assert got == b"x" * sent + END + b"bye"
    assert site.connection.done


def test_a_peer_that_resets_breaks_it(site: Site) -> None:
    site.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    site.peer.close()
    with pytest.raises(ConnectionResetError):
        site.settle()


def test_a_reset_after_the_peers_half_close_is_seen_while_nothing_is_written(site: Site) -> None:
    site.peer.send(END)
    site.settle()
    assert site.plain.recv(10) == b""
    site.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    site.peer.close()
    with pytest.raises(ConnectionResetError):
        site.settle()


def test_a_reset_is_seen_once_what_came_before_is_taken(site: Site) -> None:
    site.plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    site.connection.inner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    site.peer.send(b"x" * 60_000 + END)
    site.settle()
    site.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    site.peer.close()
    site.settle()
    assert site.connection._to_inner
    assert not site.connection.interest(site.connection.outer.fileno())
    with pytest.raises(ConnectionResetError):
        read(site.plain, site)


def test_nobody_behind_it_is_seen_by_the_peer(site: Site) -> None:
    site.plain.close()
    site.peer.send(b"hello?")
    site.settle()
    assert site.connection.done
    assert site.peer.recv(100) == END + b"bye"


def test_nothing_is_sent_before_the_layer_is_open_and_a_close_ends_it() -> None:
    site = make(Dots(open=False))
    site.plain.send(b"too early")
    site.settle()
    with pytest.raises(BlockingIOError):
        site.peer.recv(1)
    site.plain.close()
    site.settle()
    assert site.connection.done
    close(site)


def test_an_end_before_the_layer_is_open_breaks_it() -> None:
    site = make(Dots(open=False))
    site.peer.shutdown(socket.SHUT_WR)
    with pytest.raises(LayerBrokenError):
        site.settle()
    close(site)


def test_a_broken_layer_has_its_last_word(site: Site) -> None:
    site.peer.send(b"!")
    with pytest.raises(LayerBrokenError):
        site.settle()
    site.connection.break_off()
    assert site.peer.recv(100) == b"what?"


def test_what_was_read_ahead_comes_first(site: Site) -> None:
    site.peer.send(b"the rest")
    site.connection.begin(b"ahead, ")
    assert read(site.plain, site) == b"ahead, the rest"


def test_a_peer_that_is_finished_takes_no_more(site: Site) -> None:
    site.layer.ended = site.layer.finished = True
    site.plain.send(b"late")
    with pytest.raises(ConnectionResetError):
        site.settle()


def test_a_peer_that_is_finished_waits_for_the_end_of_the_other_side(site: Site) -> None:
    site.layer.finished = True
    site.peer.send(END)
    assert read(site.plain, site) == b"|"
    assert not site.connection.done
    site.plain.shutdown(socket.SHUT_WR)
    site.settle()
    assert site.connection.done
