"""Joined sockets, stepped by hand."""

from __future__ import annotations

import contextlib
import select
import socket
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if not sys.platform.startswith("linux"):
    pytest.skip("splice(2) and epoll(7) are Linux's", allow_module_level=True)

from kled_coord.relay.splice.pair import Pair
from tests.coord.relay.sockets import connected
from tests.kit.examples import examples

PIECES = st.lists(st.binary(max_size=4000), max_size=8)


def make() -> tuple[socket.socket, Pair, socket.socket]:
    """A client's far end, the pair, an agent's far end."""
    far_client, client = connected()
    far_agent, agent = connected()
    for end in (client, agent):
        end.setblocking(False)
    return far_client, Pair(client, agent), far_agent


def settle(pair: Pair) -> None:
    """Step as an epoll loop would, until nothing is ready."""
    epoll = select.epoll()
    try:
        for end in (pair.client, pair.agent):
            epoll.register(end, pair.interest(end.fileno()))
        while events := epoll.poll(0.02):
            for descriptor, event in events:
                pair.step(descriptor, event)
            for end in (pair.client, pair.agent):
                epoll.modify(end, pair.interest(end.fileno()))
            if pair.done:
                break
    finally:
        epoll.close()


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(st.binary(max_size=4000), max_size=8), st.lists(st.binary(max_size=4000), max_size=8)
)
def test_bytes_arrive_whole_and_in_order_both_ways(there: list[bytes], back: list[bytes]) -> None:
    client, pair, agent = make()
    try:
        for piece in there:
            client.sendall(piece)
        for piece in back:
            agent.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        agent.shutdown(socket.SHUT_WR)
        settle(pair)
        assert pair.done
        assert _rest(agent) == b"".join(there)
        assert _rest(client) == b"".join(back)
        assert pair.to_agent.moved == sum(map(len, there))
    finally:
        _close(client, pair, agent)


def test_a_half_close_goes_through_and_the_other_way_stays_open() -> None:
    client, pair, agent = make()
    try:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        settle(pair)
        assert _rest(agent) == b"last words"
        agent.sendall(b"answer")
        settle(pair)
        assert client.recv(100) == b"answer"
        assert not pair.done
    finally:
        _close(client, pair, agent)


def test_a_reader_that_stops_holds_the_writer_back_and_nothing_is_lost() -> None:
    client, pair, agent = make()
    client.setblocking(False)
    sent = 0
    try:
        while True:
            try:
                sent += client.send(bytes(65536))
            except BlockingIOError:
                before = sent
                settle(pair)
                try:
                    sent += client.send(bytes(65536))
                except BlockingIOError:
                    break
                assert sent > before
        descriptor = pair.client.fileno()
        assert pair.interest(descriptor) & select.EPOLLIN == 0
        client.shutdown(socket.SHUT_WR)
        agent.settimeout(0.05)
        got = 0
        while not pair.to_agent.done:
            with contextlib.suppress(TimeoutError):
                got += len(agent.recv(1 << 20))
            settle(pair)
        agent.settimeout(None)
        assert got + len(_rest(agent)) == sent
    finally:
        _close(client, pair, agent)


def test_a_dead_socket_whose_pipe_was_just_emptied_is_asked_for_the_rest() -> None:
    client, pair, agent = make()
    client.setblocking(False)
    sent = 0
    try:
        agent.shutdown(socket.SHUT_WR)
        settle(pair)  # this way is over, so that the client's end makes its socket a dead one
        while not (pair.to_agent.held and client.fileno() < 0):
            try:
                sent += client.send(bytes(65536))
            except BlockingIOError:
                settle(pair)
                if pair.to_agent.held:
                    client.close()
        got = steps = 0
        agent.setblocking(False)
        poll = select.poll()
        poll.register(pair.client, 0)  # for its death alone, which is told when all has arrived
        while not pair.to_agent.done:
            with contextlib.suppress(BlockingIOError):
                got += len(agent.recv(1 << 20))
            if poll.poll(0):
                # The agent has room before epoll has said so.
                pair.step(pair.client.fileno(), select.EPOLLHUP)
                steps += 1
            else:
                pair.step(pair.agent.fileno(), select.EPOLLOUT)
        agent.setblocking(True)
        assert got + len(_rest(agent)) == sent
        assert steps > 1, "what was left was not all in the pipe"
    finally:
        _close(client, pair, agent)


def test_a_reset_breaks_the_pair() -> None:
    client, pair, agent = make()
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as the kernel likes
            settle(pair)
    finally:
        _close(client, pair, agent)


def _rest(end: socket.socket) -> bytes:
    found = bytearray()
    while piece := end.recv(1 << 20):
        found += piece
    return bytes(found)


def _close(client: socket.socket, pair: Pair, agent: socket.socket) -> None:
    pair.close()
    client.close()
    agent.close()
