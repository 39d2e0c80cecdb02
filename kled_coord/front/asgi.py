"""The API on Hypercorn's Trio server, one connection at a time, over any Trio stream.

Who asks is decided for each request: a proxy may send those of many clients over one connection.

The front listener has accepted (and unwrapped TLS) already; Hypercorn's own HTTP/2 and upgrade
paths stay shut, because what upgrades is the listener's to decide.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from kled_coord.front.admission import VOUCHED, Admission, AdmissionPlace
from kled_coord.front.forwarded import HEADER, Network, decide_address
from kled_coord.front.http11 import Http11
from kled_coord.front.mailbox import AppTasks
from kled_coord.front.refusing import end_politely, head_timeout
from kled_coord.offload.stream import OffloadedStream
from kled_wire import limits
from kled_wire.errors import LimitError, encode_error_body

# Longer than the keep-alive of common proxies (nginx: 60 s), so that they close first.
KEEP_ALIVE_S = 75.0
# A client takes 64 KiB in this time, or is not reading any more.
SEND_S = 30.0

log = structlog.get_logger(__name__)


class AsgiServer:
    """Serves one ASGI application on streams that it is handed.

    A head may take `head_s` seconds; a client must take 64 KiB within `send_s` seconds.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        admission: Admission,
        trusted_proxies: Sequence[Network] = (),
        *,
        head_s: float = limits.HEAD_TIMEOUT_S,
        send_s: float = SEND_S,
    ) -> None:
        self._head_s = head_s
        self._send_s = send_s
        self._app = ASGIWrapper(_with_clients(app, admission, trusted_proxies))
        self._config = HypercornConfig()
        self._config.errorlog = None
        self._config.include_server_header = False
        self._context = WorkerContext(None)
        self._open = 0
        self._closed = trio.Event()

    async def serve_connection(
        self, stream: trio.abc.HalfCloseableStream, place: AdmissionPlace | None = None
    ) -> None:
        """Answer requests until either side closes; the stream is closed at the end.

        `place` is left at the first request that says who asks; until then the connection does not
        idle for long.
        """
        self._open += 1
        try:
            await _HypercornConnection(
                place,
                self._head_s,
                self._send_s,
                self._app,
                self._config,
                self._context,
                {},
                stream,
            ).run()
        except Exception:
            # One connection's bug must not end the others.
            log.exception("connection_crashed")
        finally:
            self._open -= 1
            if self._open == 0:
                self._closed.set()

    async def drain(self) -> None:
        """Close idle connections now and the others after their answer; waits for all."""
        await self._context.terminated.set()
        while self._open:
            self._closed = trio.Event()
            await self._closed.wait()


class _HypercornConnection(TCPServer):
    """Hypercorn's connection without its TLS handshake, and with ends to its waits."""

    protocol: Any
    # Hypercorn says it wants TLS over a socket; it uses no more than any stream has.
    stream: Any

    def __init__(
        self, place: AdmissionPlace | None, head_s: float, send_s: float, *arguments: Any
    ) -> None:
        super().__init__(*arguments)
        self._place = place
        self._head_s = head_s
        self._send_s = send_s
        if place is not None:
            self.state = {VOUCHED: place.leave}
        self._serving = trio.CancelScope()

    async def run(self) -> None:
        ssl, sock = _below(self.stream)
        try:
            async with AppTasks() as task_group:
                self._task_group = task_group
                self.protocol = Http11(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state),
                    ssl,
                    _address(sock.getpeername()) if sock else None,
                    _address(sock.getsockname()) if sock else None,
                    self.protocol_send,
                    head_s=self._head_s,
                )
                await self.protocol.initiate()
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
                # Nobody is there any more who could keep it alive.
                await self.idle_task.stop()
        except OSError:
            return
        finally:
            await self._close()

    async def _idle_timeout(self) -> None:
        is_stranger = self._place is not None and self._place.is_held
        with trio.move_on_after(self._head_s if is_stranger else KEEP_ALIVE_S):
            await self.context.terminated.wait()
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        """Send within a time, or end: the peer must read, and is heard out before the close."""
        if isinstance(event, RawData):
            async with self.send_lock:
                await self._send(event.data)
        elif isinstance(event, Closed) and self.protocol.is_cut_short:
            self._serving.cancel()
        else:
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        try:
            for at in range(0, len(data), MAX_RECV):
                # Shielded: half a piece would spoil what comes after it.
                with trio.move_on_after(self._send_s, shield=True) as waiting:
                    await self.stream.send_all(data[at : at + MAX_RECV])
                if waiting.cancelled_caught:
                    log.info("client_not_reading", address=(self.protocol.client or ("",))[0])
                    await trio.aclose_forcefully(self.stream)
                    break
            else:
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("client_gone")
        await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        with self._serving:
            await self._receive()
        if self._serving.cancelled_caught:
            await end_politely(self.stream)
        await self.protocol.handle(Closed())

    async def _receive(self) -> None:
        data = b"begun"
        while data:
            try:
                with trio.fail_at(self.protocol.head_deadline):
                    data = bytes(await self.stream.receive_some(MAX_RECV))
            except trio.TooSlowError:
                await self.protocol.refuse(head_timeout())
                return
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                return
            await self.protocol.handle(RawData(data))


def _with_clients(
    app: Callable[..., Awaitable[None]], admission: Admission, trusted_proxies: Sequence[Network]
) -> Callable[..., Awaitable[None]]:
    """The application, told of the client that a trusted proxy names instead of the proxy.

    Such a request has a place of its own, by the client's address.
    """

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        told = [value for name, value in scope["headers"] if name.lower() == HEADER.encode()]
        if scope["client"] and told:
            peer, _ = scope["client"]
            client = decide_address(peer, b",".join(told).decode("latin-1"), trusted_proxies)
            if client != peer:
                scope = scope | {"client": (client, 0)}
                await _serve_proxied(app, admission, scope, receive, send)
                return
        await app(scope, receive, send)

    return asked


async def _serve_proxied(
    app: Callable[..., Awaitable[None]], admission: Admission, scope: Any, receive: Any, send: Any
) -> None:
    try:
        place = await admission.enter(scope["client"][0])
    except LimitError as error:
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": encode_error_body(error)})
        return
    try:
        await app(scope | {"state": {**scope["state"], VOUCHED: place.leave}}, receive, send)
    finally:
        place.leave()


def _below(stream: Any) -> tuple[bool, Any]:
    """Whether there is TLS somewhere below this stream, and the socket at the bottom, if any."""
    tls = False
    while not hasattr(stream, "socket"):
        tls = tls or isinstance(stream, OffloadedStream)
        stream = getattr(stream, "transport_stream", None)
        if stream is None:
            return tls, None
    return tls, stream.socket


def _address(name: Any) -> tuple[str, int]:
    """Host and port of an address; a Unix socket's is its path and 0."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return str(name), 0
