"""Neither end is believed without the secret, nor twice."""

from __future__ import annotations

import os

import pytest

from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.resume.frames import Challenge, Greeting, New, Proof, Refuse, Resume
from kled_wire.resume.proof import (
    answer_challenge,
    check_challenge,
    check_proof,
    make_challenge,
    make_proof,
)

SECRET, OTHER = os.urandom(32), os.urandom(32)
RESUME = Resume(os.urandom(16), os.urandom(32), 7)


def test_both_ends_with_the_secret_believe_each_other() -> None:
    challenge = make_challenge(SECRET, RESUME, os.urandom(32), 9)
    assert check_challenge(SECRET, RESUME, challenge)
    assert check_proof(SECRET, RESUME, challenge, make_proof(SECRET, RESUME, challenge))


def test_another_secret_is_not_believed() -> None:
    challenge = make_challenge(OTHER, RESUME, os.urandom(32), 9)
    assert not check_challenge(SECRET, RESUME, challenge)
    assert not check_proof(SECRET, RESUME, challenge, make_proof(OTHER, RESUME, challenge))


def test_an_answer_cannot_be_replayed_to_another_exchange() -> None:
    challenge = make_challenge(SECRET, RESUME, os.urandom(32), 9)
    proof = make_proof(SECRET, RESUME, challenge)
    later = make_challenge(SECRET, RESUME, os.urandom(32), 9)
    assert not check_proof(SECRET, RESUME, later, proof)
    other = RESUME._replace(nonce=os.urandom(32))
    assert not check_challenge(SECRET, other, challenge)


def test_offsets_cannot_be_changed_on_the_way() -> None:
    challenge = make_challenge(SECRET, RESUME, os.urandom(32), 9)
    assert not check_challenge(SECRET, RESUME, challenge._replace(received=8))
    assert not check_challenge(SECRET, RESUME._replace(received=8), challenge)


def test_the_agents_mac_is_not_a_proof_of_the_client() -> None:
    challenge = make_challenge(SECRET, RESUME, os.urandom(32), 9)
    assert not check_proof(SECRET, RESUME, challenge, Proof(challenge.mac))
    assert not check_challenge(
        SECRET, RESUME, Challenge(challenge.nonce, 9, make_proof(SECRET, RESUME, challenge).mac)
    )


def test_a_client_answers_the_agent_with_its_position_and_a_proof() -> None:
    challenge = make_challenge(SECRET, RESUME, os.urandom(32), 9)
    proof = make_proof(SECRET, RESUME, challenge)
    assert answer_challenge(SECRET, RESUME, challenge) == (9, proof)


@pytest.mark.parametrize(
    "greeting",
    [
        make_challenge(OTHER, RESUME, bytes(32), 9),
        New(bytes(16), bytes(32)),
        Proof(bytes(32)),
        RESUME,
    ],
)
def test_a_client_answers_nobody_else(greeting: Greeting) -> None:
    with pytest.raises(ProtocolError) as caught:
        answer_challenge(SECRET, RESUME, greeting)
    assert caught.value.code == "proof_wrong"


def test_an_agent_that_refuses_is_quoted() -> None:
    with pytest.raises(UnavailableError, match="it has ended") as caught:
        answer_challenge(SECRET, RESUME, Refuse("stream_unknown", "it has ended"))
    assert caught.value.code == "stream_unknown"
