"""Both ends prove that they know a stream's secret, without sending it (HMAC, RFC 2104).

The secret travels once, in NEW. Whoever carried that transport has seen it, as it sees all bytes
of the stream, which are SSH's and encrypted; nobody else can take the stream over or be taken for
its other end, on the relay or on a direct path.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NamedTuple

from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.resume.frames import (
    Challenge,
    New,
    Proof,
    Refuse,
    Resume,
    decode_greeting,
    encode_greeting,
)

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


def check_proof(secret: bytes, resume: Resume, challenge: Challenge, proof: Proof) -> bool:
    """Whether the answer comes from the stream's client."""
    return hmac.compare_digest(make_proof(secret, resume, challenge).mac, proof.mac)


class ProvenAgent(NamedTuple):
    """The other end of a transport is the stream's agent; the stream comes over with `proof`.

    `position` is the agent's, `rest` what was read past its answer.
    """

    position: int
    proof: bytes
    rest: bytes


class ClientGreeting:
    """A client goes on with a stream on a new transport: what it says, and what the answer means.

    Send `request`, then feed what comes until it makes a ProvenAgent. Nothing is decided before
    its `proof` is sent. No I/O.
    """

    def __init__(self, new: New, position: int, nonce: bytes) -> None:
        """`position` is how much has arrived here, `nonce` fresh from a secure source."""
        self._secret = new.secret
        self._resume = Resume(new.id, nonce, position)
        self._buffer = bytearray()
        self.request = encode_greeting(self._resume)

    def feed(self, data: bytes | bytearray) -> ProvenAgent | None:
        """None when more must come.

        Raises UnavailableError with the agent's code when it refuses, ProtocolError("proof_wrong")
        when it is not the stream's agent, and ("greeting_malformed").
        """
        self._buffer += data
        found = decode_greeting(self._buffer)
        if found is None:
            return None
        greeting, length = found
        if isinstance(greeting, Refuse):
            raise UnavailableError(greeting.code, greeting.message)
        if not isinstance(greeting, Challenge) or not check_challenge(
            self._secret, self._resume, greeting
        ):
            raise ProtocolError("proof_wrong", "the peer does not know the stream's secret")
        proof = encode_greeting(make_proof(self._secret, self._resume, greeting))
        return ProvenAgent(greeting.received, proof, bytes(self._buffer[length:]))
