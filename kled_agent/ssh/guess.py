"""Checks whether a client guessed the key exchange right (RFC 4253, section 7).

A client may send the first packet of the key exchange it expects before it knows ours. Both sides
must agree on whether that packet counts. It does when the first key exchange method and the first
host key algorithm of both lists are the same: that is what the RFC says and sshd does.
"""

from __future__ import annotations

from typing import Final

# SSH_MSG_KEXINIT and its cookie.
_LISTS_AT: Final = 1 + 16
_LISTS: Final = 10
# Key exchange methods and host key algorithms are the first two lists.
_GUESSED: Final = 2


def is_wrong_guess(client: bytes, server: bytes) -> bool:
    """Whether the packet after `client` is to be ignored; both are payloads of SSH_MSG_KEXINIT."""
    theirs, follows = _read(client)
    ours, _ = _read(server)
    return follows and theirs != ours


def _read(kexinit: bytes) -> tuple[list[bytes], bool]:
    """The first name of both lists that count, and whether a guess follows."""
    at, first = _LISTS_AT, []
    for _ in range(_LISTS):
        end = at + 4 + int.from_bytes(kexinit[at : at + 4], "big")
        first.append(kexinit[at + 4 : end].split(b",", 1)[0])
        at = end
    return first[:_GUESSED], kexinit[at : at + 1] == b"\x01"
