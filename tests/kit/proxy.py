"""Proxies as they stand between people and their servers."""

from __future__ import annotations

import base64
import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEAD_MAX = 65536


@dataclass(kw_only=True)
class Proxy:
    """A running proxy. `seen` holds the first line of each request, in order.

    With `idle_s` it cuts a connection on which neither side says anything for that long. With
    `credentials` ("user:password") it answers 407 to who does not give them.
    """

    port: int = 0
    idle_s: float | None = None
    credentials: str = ""
    seen: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


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
                self._proxy.seen.append(_first_line(head))
                self.handle(client, head, rest)
        self._links.discard(client)

    def handle(self, client: socket.socket, head: bytes, rest: bytes) -> None:
        raise NotImplementedError

    def join(self, client: socket.socket, server: socket.socket, head: bytes) -> None:
        if not join(client, server, idle_s=self._proxy.idle_s):
            self._proxy.cut.append(_first_line(head))

    def connect(self) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", self._target), timeout=20)
        server.settimeout(None)
        self._links.add(server)
        return server


class _Connect(_Server):
    """A forward proxy: CONNECT, and `GET http://…` for plain HTTP. Every host is the target."""

    def handle(self, client: socket.socket, head: bytes, rest: bytes) -> None:
        given = re.search(rb"(?i)\r\nproxy-authorization: basic (\S+)", head)
        wanted = base64.b64encode(self._proxy.credentials.encode())
        if self._proxy.credentials and (given is None or given[1] != wanted):
            self._proxy.refused.append(_first_line(head))
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
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
            self.join(client, server, head)


class _OnlyWebSockets(_Server):
    """A reverse proxy that knows WebSockets and refuses every other upgrade."""

    def handle(self, client: socket.socket, head: bytes, rest: bytes) -> None:
        if re.search(rb"(?i)\r\nupgrade: (?!websocket)", head):
            self._proxy.refused.append(_first_line(head))
            body = b"<html>Upgrade not supported</html>"
            size = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n" + size + body)
            return
        with self.connect() as server:
            server.sendall(head + rest)
            self.join(client, server, head)


def _first_line(head: bytes) -> str:
    return head.split(b"\r\n")[0].decode("latin-1")


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


def join(one: socket.socket, other: socket.socket, *, idle_s: float | None = None) -> bool:
    """Carry bytes both ways until both have ended; a half-close is carried too.

    False when it was cut because nothing came from either for `idle_s`.
    """
    pair = _Pair(idle_s)
    back = threading.Thread(target=pair.carry, args=(other, one), daemon=True)
    back.start()
    pair.carry(one, other)
    back.join()
    return not pair.is_cut


class _Pair:
    """Two joined sockets, and when one of them last said something."""

    def __init__(self, idle_s: float | None) -> None:
        self._idle_s = idle_s
        self._last = time.monotonic()
        self.is_cut = False

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while chunk := self._receive(source):
                target.sendall(chunk)
            if self.is_cut:
                _shut(source, target)
            else:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            _shut(source, target)

    def _receive(self, source: socket.socket) -> bytes:
        while self._idle_s is not None:
            left = self._last + self._idle_s - time.monotonic()
            if select.select([source], [], [], max(0.0, left))[0]:
                break
            if self._last + self._idle_s <= time.monotonic():
                self.is_cut = True
                return b""
        chunk = source.recv(262144)
        self._last = time.monotonic()
        return chunk


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def connect_proxy(
    target: int, *, idle_s: float | None = None, credentials: str = ""
) -> Iterator[Proxy]:
    """A forward proxy (RFC 9110, section 9.3.6) whose every host is 127.0.0.1:`target`."""
    proxy = Proxy(idle_s=idle_s, credentials=credentials)
    server = _Connect(target, proxy)
    try:
        yield proxy
    finally:
        server.close()


@contextlib.contextmanager
def only_websockets(target: int, *, port: int = 0, idle_s: float | None = None) -> Iterator[Proxy]:
    """A reverse proxy in front of 127.0.0.1:`target` that lets only WebSockets upgrade."""
    proxy = Proxy(port=port, idle_s=idle_s)
    server = _OnlyWebSockets(target, proxy)
    try:
        yield proxy
    finally:
        server.close()
