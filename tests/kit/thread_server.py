"""A server on plain sockets that gives each connection a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from tests.kit.sockets import Address


@contextlib.contextmanager
def serving_in_threads(
    address: Address, handle: Callable[[socket.socket], object]
) -> Iterator[int]:
    """Serve a host and port, or the path of a Unix socket; gives the port (0: there is none).

    Each connection is closed after `handle`, which a client that ends early may end by an OSError.
    """

    def serve(link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            handle(link)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = listener.accept()
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield 0 if isinstance(address, str) else int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
