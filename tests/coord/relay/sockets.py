"""Connected TCP sockets on loopback, as the relay gets them."""

from __future__ import annotations

import socket

import trio


def connected() -> tuple[socket.socket, socket.socket]:
    """A TCP connection to ourselves: the two ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    return made, accepted


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything up to the end."""
    found = bytearray()
    async for chunk in stream:
        found += chunk
    return bytes(found)
