"""The pump beside ssh leaves the relay for a direct path and comes back, on real sockets."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
from collections.abc import Iterator

import pytest

from kled_client.stream.direct import DirectSide
from kled_client.stream.resume import Transport
from kled_wire.errors import UnavailableError
from kled_wire.resume.direct.offer import Candidate, Offer, encode_offer
from kled_wire.resume.direct.paths import ATTEMPT_S, OFFER_PACE_S, Paths
from kled_wire.resume.frames import New
from kled_wire.resume.state import StreamState
from tests.client.pumping import Agent, Ssh, exchange_under_cuts
from tests.kit.waiting import wait_until


@pytest.fixture
def ssh(agent: Agent) -> Iterator[Ssh]:
    made = Ssh(agent)
    echo(made, b"begin")
    yield made
    made.close()


def echo(ssh: Ssh, words: bytes) -> None:
    """There and back."""
    ssh.sock.sendall(words)
    got = b""
    while len(got) < len(words):
        got += ssh.sock.recv(100)
    assert got == words


def until(ssh: Ssh, kind: str) -> None:
    wait_until(f"the path is {kind}", lambda: ssh.paths.report().kind == kind)


def test_it_moves_to_what_is_offered(agent: Agent, ssh: Ssh) -> None:
    agent.offer(agent.direct_port)
    until(ssh, "direct")
    echo(ssh, b"directly")
    assert (agent.dials, agent.moves) == (1, 1)
    assert ssh.paths.report().address == f"127.0.0.1:{agent.direct_port}"


def test_it_comes_back_to_the_relay_and_goes_again(agent: Agent, ssh: Ssh) -> None:
    agent.offer(agent.direct_port)
    for moves in range(1, 5):
        until(ssh, "direct")
        echo(ssh, b"on the path")
        assert agent.moves == moves
        agent.cut()
        echo(ssh, b"wherever")


def test_a_path_is_found_while_there_is_no_relay(agent: Agent, ssh: Ssh) -> None:
    agent.offer(agent.direct_port)
    until(ssh, "direct")
    agent.dial = no_way  # type: ignore[method-assign]
    agent.cut()
    echo(ssh, b"no relay")
    assert agent.moves == 2


def no_way() -> Transport:
    raise UnavailableError("coordinator_unreachable", "no way")


def test_what_is_not_there_is_said_and_the_relay_carries(agent: Agent, ssh: Ssh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    agent.offer(closed)
    wait_until("it is said", lambda: "refused" in ssh.paths.report().reason)
    echo(ssh, b"on the relay")
    assert agent.moves == 0


def test_an_offer_does_not_wait_for_silent_addresses_of_the_one_before() -> None:
    state = StreamState()
    # A die that always says: at once.
    paths = Paths(lambda: "here", lambda: -1.0)
    side = DirectSide(paths, New(bytes(16), bytes(32)), state)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0)) as other,
        contextlib.closing(side),
    ):
        state.on_offer(offering(silent))
        assert side.wake_at() <= 0.0
        for now in (0.0, ATTEMPT_S, ATTEMPT_S):
            side.step(now)
        assert side.racing
        state.on_offer(offering(other))
        assert side.wake_at() == OFFER_PACE_S
        side.step(OFFER_PACE_S)
        other.settimeout(10)
        dialling, _ = other.accept()
        dialling.close()
        assert side.racing


def offering(server: socket.socket) -> bytes:
    return encode_offer(Offer((Candidate("127.0.0.1", server.getsockname()[1]),), "here"))


def test_who_is_not_the_agent_gets_nothing(agent: Agent, ssh: Ssh) -> None:
    other = Agent()
    stranger = Ssh(other)
    try:
        echo(stranger, b"another stream")
        agent.offer(other.direct_port)
        wait_until("it is said", lambda: "not the agent" in ssh.paths.report().reason)
        echo(ssh, b"on the relay")
        assert other.moves == 0
    finally:
        stranger.close()
        other.stop()


def test_bytes_survive_moves(agent: Agent, ssh: Ssh) -> None:
    data = random.Random(3).randbytes(30_000_000)
    agent.offer(agent.direct_port)
    got, _ = exchange_under_cuts(agent, ssh, data)
    assert len(got) == len(data)
    assert agent.moves > 2
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
