"""A server that answers each connection with what it sent, once that has ended, in capitals."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

EchoAddress = tuple[str, int] | str


@contextlib.contextmanager
def echoing(address: EchoAddress) -> Iterator[int]:
    """Serve a host and port, or the path of a Unix socket; gives the port (0: there is none)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        yield 0 if isinstance(address, str) else int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(link,), daemon=True).start()


def _answer(link: socket.socket) -> None:
    # A client that is refused, or that ends early, takes no answer.
    with link, contextlib.suppress(OSError):
        data = bytearray()
        while chunk := link.recv(262144):
            data += chunk
        link.sendall(data.upper())
