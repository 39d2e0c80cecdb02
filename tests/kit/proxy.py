"""Proxies as they stand between people and their servers."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEAD_MAX = 65536


@dataclass(kw_only=True)
class Proxy:
    """A running proxy. `seen` holds the first line of each request, in order."""

    port: int = 0
    seen: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class _Server:
    """Accepts connections and gives each a thread."""

    def __init__(self, target: int, proxy: Proxy) -> None:
        self._target = target
        self._proxy = proxy
        self._listener = socket.create_server(("127.0.0.1", proxy.port), backlog=200)
        self._links: set[socket.socket] = set()
        proxy.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for link in list(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._links.add(client)
        with client, contextlib.suppress(OSError):
            head, rest = read_head(client)
            if head:
                self._proxy.seen.append(head.split(b"\r\n")[0].decode("latin-1"))
                self.handle(client, head, rest)
        self._links.discard(client)

    def handle(self, client: socket.socket, head: bytes, rest: bytes) -> None:
        raise NotImplementedError

    def connect(self) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", self._target), timeout=20)
        server.settimeout(None)
        self._links.add(server)
        return server


class _Connect(_Server):
    """A forward proxy: CONNECT, and `GET http://…` for plain HTTP. Every host is the target."""

    def handle(self, client: socket.socket, head: bytes, rest: bytes) -> None:
        with self.connect() as server:
            if head.startswith(b"CONNECT "):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                # One request a connection keeps this small.
                head = re.sub(rb"^(\S+) http://[^/ ]+", rb"\1 ", head, count=1)
                head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
                head = re.sub(rb"\r\n(?i:connection|proxy-connection): keep-alive", b"", head)
                server.sendall(head)
            server.sendall(rest)
            join(client, server)


class _OnlyWebSockets(_Server):
    """A reverse proxy that knows WebSockets and refuses every other upgrade."""

    def handle(self, client: socket.socket, head: bytes, rest: bytes) -> None:
        if re.search(rb"(?i)\r\nupgrade: (?!websocket)", head):
            self._proxy.refused.append(head.split(b"\r\n")[0].decode("latin-1"))
            body = b"<html>Upgrade not supported</html>"
            size = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n" + size + body)
            return
        with self.connect() as server:
            server.sendall(head + rest)
            join(client, server)


def read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """A request's head, with its empty line, and what was read past it."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = client.recv(_HEAD_MAX)
        if not chunk or len(data) > _HEAD_MAX:
            return b"", b""
        data += chunk
    head, mark, rest = data.partition(b"\r\n\r\n")
    return head + mark, rest


def join(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both have ended; a half-close is carried too."""
    back = threading.Thread(target=_carry, args=(other, one), daemon=True)
    back.start()
    _carry(one, other)
    back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(262144):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def connect_proxy(target: int) -> Iterator[Proxy]:
    """A forward proxy (RFC 9110, section 9.3.6) whose every host is 127.0.0.1:`target`."""
    proxy = Proxy()
    server = _Connect(target, proxy)
    try:
        yield proxy
    finally:
        server.close()


@contextlib.contextmanager
def only_websockets(target: int, *, port: int = 0) -> Iterator[Proxy]:
    """A reverse proxy in front of 127.0.0.1:`target` that lets only WebSockets upgrade."""
    proxy = Proxy(port=port)
    server = _OnlyWebSockets(target, proxy)
    try:
        yield proxy
    finally:
        server.close()
