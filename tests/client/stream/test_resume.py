"""The loop beside ssh, against an agent's end under Trio in another thread, over cut sockets."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from kled_client.stream.resume import Transport
from kled_wire.errors import UnavailableError
from tests.client.pumping import Agent, Ssh, exchange_under_cuts
from tests.kit.waiting import wait_until


@pytest.fixture
def ssh(agent: Agent) -> Iterator[Ssh]:
    made = Ssh(agent)
    yield made
    made.close()


def test_bytes_survive_cuts(agent: Agent, ssh: Ssh) -> None:
    data = random.Random(3).randbytes(12_000_000)
    got, cuts = exchange_under_cuts(agent, ssh, data)
    assert len(got) == len(data)
    assert cuts >= 10
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_a_keystroke_goes_there_and_back(agent: Agent, ssh: Ssh) -> None:
    for key in b"hello":
        ssh.sock.sendall(bytes([key]))
        assert ssh.sock.recv(10) == bytes([key])


def test_a_stream_that_the_agent_forgot_ends_with_its_words(agent: Agent, ssh: Ssh) -> None:
    ssh.sock.sendall(b"x")
    assert ssh.sock.recv(1) == b"x"
    agent.forgets = True
    agent.cut()
    assert ssh.sock.recv(1) == b""
    ssh.close()
    assert isinstance(ssh.error, UnavailableError)
    assert ssh.error.code == "unknown_stream"


def test_a_first_transport_that_ended_unheard_is_no_loss(agent: Agent) -> None:
    """The agent knows nothing of the stream then: it begins once more."""
    agent.deaf = 1
    ssh = Ssh(agent)
    ssh.sock.sendall(b"x")
    assert ssh.sock.recv(1) == b"x"
    ssh.close()


def test_an_idle_stream_is_back_at_once_however_often_its_transports_end(
    agent: Agent, ssh: Ssh
) -> None:
    """Nothing gets on meanwhile, but the agent has proven each time that it is there."""
    ssh.sock.sendall(b"x")
    assert ssh.sock.recv(1) == b"x"
    for number in range(1, 15):
        agent.cut()
        # A backoff that went on would be at 10 s by then.
        wait_until("it is back", lambda n=number: agent.resumes >= n, within_s=4.0)  # type: ignore[misc]  # a default argument binds n


def test_an_ssh_that_goes_away_while_there_is_no_transport_ends_the_pump(
    agent: Agent, ssh: Ssh
) -> None:
    ssh.sock.sendall(b"x")
    assert ssh.sock.recv(1) == b"x"
    agent.dial = _no_way  # type: ignore[method-assign]
    agent.cut()
    ssh.close()


def _no_way() -> Transport:
    raise UnavailableError("coordinator_unreachable", "no way")
