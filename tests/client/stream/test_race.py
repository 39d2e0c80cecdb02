"""Dialling addresses, step by step, with sockets that do what a test wants."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

from kled_client.stream.race import Race
from kled_wire.resume.direct.offer import Candidate
from kled_wire.resume.direct.paths import ATTEMPT_S, STAGGER_S
from kled_wire.resume.frames import New, Proof, Refuse, Resume, decode_greeting, encode_greeting
from kled_wire.resume.proof import check_proof, make_challenge

NEW = New(os.urandom(16), os.urandom(32))


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(10)
        yield made


def at(server: socket.socket) -> Candidate:
    return Candidate("127.0.0.1", server.getsockname()[1])


def turn(race: Race, now: float) -> None:
    """Wait for whatever comes, and let the race handle it."""
    poll = select.poll()
    for descriptor, events in race.watched():
        poll.register(descriptor, events)
    for descriptor, _ in poll.poll(10_000):
        race.handle(descriptor, now)


def asked(race: Race, server: socket.socket) -> tuple[socket.socket, Resume]:
    """The race connects and greets; what the agent gets."""
    race.step(0.0)
    turn(race, 0.0)
    agent, _ = server.accept()
    greeting = decode_greeting(agent.recv(1000))
    assert greeting is not None
    assert isinstance(greeting[0], Resume)
    return agent, greeting[0]


def test_who_knows_the_secret_wins(server: socket.socket) -> None:
    race = Race((at(server),), NEW, lambda: 7, 0.0)
    agent, resume = asked(race, server)
    assert resume.received == 7
    challenge = make_challenge(NEW.secret, resume, os.urandom(32), 9)
    encoded = encode_greeting(challenge)
    with agent:
        for start in range(0, len(encoded), 20):
            agent.sendall(encoded[start : start + 20])
            turn(race, 0.25)
        assert race.over
        assert race.winner is not None
        with race.winner.sock:
            proven = race.winner.agent
            assert (proven.position, race.winner.rtt_s, proven.rest) == (9, 0.25, b"")
            proof, _ = decode_greeting(proven.proof) or (None, 0)
            assert isinstance(proof, Proof)
            assert check_proof(NEW.secret, resume, challenge, proof)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not the agent of this stream"),
        (encode_greeting(Refuse("resume_only", "words")), "words"),
    ],
)
def test_who_does_not_is_left_and_said(server: socket.socket, answer: bytes, said: str) -> None:
    race = Race((at(server),), NEW, lambda: 0, 0.0)
    agent, _ = asked(race, server)
    with agent:
        agent.sendall(answer)
    while not race.over:
        turn(race, 0.0)
    assert race.winner is None
    assert race.failures == {at(server): said}


def test_they_set_out_after_one_another_and_come_home_in_time(server: socket.socket) -> None:
    silent = tuple(Candidate(f"127.0.0.{n}", server.getsockname()[1]) for n in (1, 2, 3))
    race = Race(silent, NEW, lambda: 0, 0.0)
    for number in range(1, 4):
        assert race.wake_at == pytest.approx((number - 1) * STAGGER_S)
        race.step(race.wake_at)
        assert len(list(race.watched())) == number
    assert race.wake_at == ATTEMPT_S
    race.step(ATTEMPT_S)
    assert race.over
    assert race.winner is None
