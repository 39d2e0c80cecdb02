"""Both ends prove that they know a stream's secret, without sending it (HMAC, RFC 2104).

The secret travels once, in NEW. Whoever carried that transport has seen it, as it sees all bytes
of the stream, which are SSH's and encrypted; nobody else can take the stream over or be taken for
its other end, on the relay or on a direct path.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.resume.frames import Challenge, Greeting, Proof, Refuse, Resume

AGENT: Final = b"agent"
CLIENT: Final = b"client"


def compute_mac(secret: bytes, role: bytes, resume: Resume, nonce: bytes, received: int) -> bytes:
    """The mac of `role` in the exchange of `resume` and a challenge of `nonce`, `received`."""
    said = resume.received.to_bytes(8, "big") + received.to_bytes(8, "big")
    message = b"kled-resume-1" + role + b"\0" + resume.id + resume.nonce + nonce + said
    return hmac.new(secret, message, hashlib.sha256).digest()


def make_challenge(secret: bytes, resume: Resume, nonce: bytes, received: int) -> Challenge:
    """The agent's answer to `resume`; `nonce` is fresh from a secure source."""
    return Challenge(nonce, received, compute_mac(secret, AGENT, resume, nonce, received))


def check_challenge(secret: bytes, resume: Resume, challenge: Challenge) -> bool:
    """Whether the answer comes from the stream's agent."""
    expected = compute_mac(secret, AGENT, resume, challenge.nonce, challenge.received)
    return hmac.compare_digest(expected, challenge.mac)


def make_proof(secret: bytes, resume: Resume, challenge: Challenge) -> Proof:
    """The client's answer to `challenge`."""
    mac = compute_mac(secret, CLIENT, resume, challenge.nonce, challenge.received)
    return Proof(mac)


def answer_challenge(secret: bytes, resume: Resume, greeting: Greeting) -> tuple[int, Proof]:
    """Client: what the other end answered to `resume`; gives the agent's position and our proof.

    Raises UnavailableError with the agent's code when it refuses, ProtocolError("proof_wrong") when
    it is not the stream's agent.
    """
    if isinstance(greeting, Refuse):
        raise UnavailableError(greeting.code, greeting.message)
    if not isinstance(greeting, Challenge) or not check_challenge(secret, resume, greeting):
        raise ProtocolError("proof_wrong", "the peer does not know the stream's secret")
    return greeting.received, make_proof(secret, resume, greeting)


def check_proof(secret: bytes, resume: Resume, challenge: Challenge, proof: Proof) -> bool:
    """Whether the answer comes from the stream's client."""
    return hmac.compare_digest(make_proof(secret, resume, challenge).mac, proof.mac)
