"""Why there is no stream, said to the SSH client in its own protocol.

An SSH client shows what its ProxyCommand writes to standard error rarely: OpenSSH closes it under
ControlPersist, libraries and IDEs drop it. All of them show the words of a disconnect message,
which a server may send right after its identification (RFC 4253, 4.2 and 11.1).
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress

from kled_wire.errors import KledError

IDENTIFICATION = b"SSH-2.0-kled\r\n"
# RFC 4253: 12, the message's number; 11.1, SSH_DISCONNECT_SERVICE_NOT_AVAILABLE.
_DISCONNECT = 1
_SERVICE_NOT_AVAILABLE = 7
# OpenSSH shows so many (packet.c, `%.400s`).
_WORDS_MAX = 400
# A packet is a multiple of this while there is no cipher, with so much padding at least (6).
_BLOCK = 8
_PADDING_MIN = 4
# A client that was told needs no longer to say its own greeting and go.
_LINGER_S = 10.0


def encode_refusal(error: KledError) -> bytes:
    """What a server would send that identifies itself and then says `error` and goes.

    The words are ASCII: clients show others as octal numbers.
    """
    words = error.shown().encode("ascii", "replace")[:_WORDS_MAX]
    payload = bytes([_DISCONNECT]) + _SERVICE_NOT_AVAILABLE.to_bytes(4, "big")
    payload += len(words).to_bytes(4, "big") + words
    # The language tag is empty.
    payload += bytes(4)
    padding = _PADDING_MIN + -(5 + len(payload) + _PADDING_MIN) % _BLOCK
    head = (1 + len(payload) + padding).to_bytes(4, "big") + bytes([padding])
    return IDENTIFICATION + head + payload + bytes(padding)


def refuse_socket(local: socket.socket, error: KledError) -> None:
    """Say `error` on a socket that the client has, and wait until it goes."""
    with local:
        _say(local.fileno(), local.fileno(), error)


def refuse_stdio(error: KledError) -> None:
    """Say `error` to the client that started us with pipes, and wait until it goes.

    A person's terminal gets nothing: what stands on standard error is enough there.
    """
    if not os.isatty(0) and not os.isatty(1):
        _say(0, 1, error)


def _say(source: int, sink: int, error: KledError) -> None:
    # A client that has gone already needs no words. One that is there writes first and reads then:
    # where nobody takes its greeting, it reports that instead.
    with suppress(OSError):
        os.write(sink, encode_refusal(error))
        poll = select.poll()
        poll.register(source, select.POLLIN)
        while poll.poll(_LINGER_S * 1000) and os.read(source, 4096):
            pass
