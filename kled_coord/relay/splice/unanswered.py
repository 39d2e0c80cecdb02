"""Makes the kernel end a connection whose peer acknowledges nothing for a minute, not fifteen.

Keepalive looks only at idle connections. While sent bytes wait to be acknowledged the kernel goes
on sending them for 15 minutes (tcp(7), tcp_retries2); a pair of sockets whose client has vanished
stays so long, and a relay process that its coordinator has left stays for it.
"""

from __future__ import annotations

import socket
from typing import Final

import trio

# Four times what an end of a resumable stream waits before it gives a transport up (DEAD_S in
# resume/state.py): whoever is still there has come back on another connection by then.
UNANSWERED_S: Final = 60.0


def end_when_unanswered(stream: trio.abc.Stream, *, after_s: float = UNANSWERED_S) -> None:
    """End the socket below `stream` when its peer has acknowledged nothing for so long.

    Only for streams whose ends resume. The kernel (Linux only) counts the time that a peer's window
    is closed too: a program that was suspended with ctrl-Z would lose a stream that cannot resume.
    A stream without a socket, as WebSocket carriers are, is left alone.
    """
    inner: object = stream
    while not isinstance(inner, trio.SocketStream):
        inner = getattr(inner, "transport_stream", None)
        if inner is None:
            return
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after_s * 1000))
