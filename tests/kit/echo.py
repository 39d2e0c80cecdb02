"""A server that answers each connection with what it sent, once that has ended, in capitals."""

from __future__ import annotations

import contextlib
import socket

from tests.kit.sockets import Address
from tests.kit.thread_server import serving_in_threads


def echoing(address: Address) -> contextlib.AbstractContextManager[int]:
    """Serve a host and port, or the path of a Unix socket; gives the port (0: there is none)."""
    return serving_in_threads(address, lambda link: link.sendall(_read_all(link).upper()))


def ask(address: Address, text: bytes = b"hello") -> bytes:
    """Send, half-close, read to the end."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as link:
        link.settimeout(30)
        link.connect(address)
        link.sendall(text)
        link.shutdown(socket.SHUT_WR)
        return _read_all(link)


def _read_all(link: socket.socket) -> bytes:
    data = bytearray()
    while chunk := link.recv(262144):
        data += chunk
    return bytes(data)
