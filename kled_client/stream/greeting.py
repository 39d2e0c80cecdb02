"""Go on with a stream on a new transport: the client's side, over a blocking socket."""

from __future__ import annotations

import os
import socket

from kled_wire.resume.frames import (
    NONCE_BYTES,
    Greeting,
    New,
    Resume,
    decode_greeting,
    encode_greeting,
)
from kled_wire.resume.proof import answer_challenge


def ask_to_resume(sock: socket.socket, first: bytes, new: New, position: int) -> tuple[int, bytes]:
    """The agent's position, and what was read past its answer.

    Raises as `answer_challenge`, and OSError.
    """
    resume = Resume(new.id, os.urandom(NONCE_BYTES), position)
    sock.sendall(encode_greeting(resume))
    greeting, rest = _read_greeting(sock, first)
    agent_position, proof = answer_challenge(new.secret, resume, greeting)
    sock.sendall(encode_greeting(proof))
    return agent_position, rest


def _read_greeting(sock: socket.socket, buffer: bytes) -> tuple[Greeting, bytes]:
    while (found := decode_greeting(buffer)) is None:
        data = sock.recv(4096)
        if not data:
            raise ConnectionResetError("the transport ended before the greeting")
        buffer += data
    greeting, length = found
    return greeting, buffer[length:]
