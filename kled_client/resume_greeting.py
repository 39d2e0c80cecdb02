"""Go on with a stream on a new transport: the client's side, over a blocking socket."""

from __future__ import annotations

import os
import socket

from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.resume.frames import (
    NONCE_BYTES,
    Challenge,
    Greeting,
    New,
    Refuse,
    Resume,
    decode_greeting,
    encode_greeting,
)
from kled_wire.resume.proof import check_challenge, make_proof


def ask_to_resume(sock: socket.socket, first: bytes, new: New, position: int) -> tuple[int, bytes]:
    """The agent's position, and what was read past its answer.

    Raises UnavailableError with the agent's code, ProtocolError("proof_wrong"), OSError.
    """
    resume = Resume(new.id, os.urandom(NONCE_BYTES), position)
    sock.sendall(encode_greeting(resume))
    greeting, rest = _read_greeting(sock, first)
    if isinstance(greeting, Refuse):
        raise UnavailableError(greeting.code, greeting.message)
    if not isinstance(greeting, Challenge) or not check_challenge(new.secret, resume, greeting):
        raise ProtocolError("proof_wrong", "the other end does not know the stream's secret")
    sock.sendall(encode_greeting(make_proof(new.secret, resume, greeting)))
    return greeting.received, rest


def _read_greeting(sock: socket.socket, buffer: bytes) -> tuple[Greeting, bytes]:
    while (found := decode_greeting(buffer)) is None:
        data = sock.recv(4096)
        if not data:
            raise ConnectionResetError("the transport ended before the greeting")
        buffer += data
    greeting, length = found
    return greeting, buffer[length:]
