"""Neither end is believed without the secret, nor twice."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.resume.frames import (
    Challenge,
    Greeting,
    New,
    Proof,
    Refuse,
    Resume,
    decode_greeting,
    encode_greeting,
)
from kled_wire.resume.proof import (
    ClientGreeting,
    ProvenAgent,
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


def asking() -> ClientGreeting:
    return ClientGreeting(New(RESUME.id, SECRET), RESUME.received, RESUME.nonce)


@given(st.lists(st.integers(1, 90), max_size=4), st.binary(max_size=9))
def test_a_client_answers_the_agent_wherever_its_words_are_cut(
    cuts: list[int], rest: bytes
) -> None:
    greeting = asking()
    assert decode_greeting(greeting.request) == (RESUME, len(greeting.request))
    challenge = make_challenge(SECRET, RESUME, bytes(32), 9)
    said = encode_greeting(challenge)
    edges = [0, *sorted({cut for cut in cuts if cut < len(said)})]
    for start, end in itertools.pairwise(edges):
        assert greeting.feed(said[start:end]) is None
    proof = encode_greeting(make_proof(SECRET, RESUME, challenge))
    assert greeting.feed(said[edges[-1] :] + rest) == ProvenAgent(9, proof, rest)


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
        asking().feed(encode_greeting(greeting))
    assert caught.value.code == "proof_wrong"


def test_an_agent_that_refuses_is_quoted() -> None:
    with pytest.raises(UnavailableError, match="it has ended") as caught:
        asking().feed(encode_greeting(Refuse("stream_unknown", "it has ended")))
    assert caught.value.code == "stream_unknown"
